"""The discriminator: what it sees and how steep it can be."""

import pytest
import torch
from torch import nn

from medgan.networks.discriminator import PatchDiscriminator


def discriminator(
    *,
    spatial_dims: int = 3,
    strides: tuple[tuple[int, ...], ...] = ((2, 2, 2), (2, 2, 2)),
    use_spectral_norm: bool = True,
) -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(
        spatial_dims=spatial_dims,
        in_channels=4,
        channels=4,
        strides=strides,
        use_spectral_norm=use_spectral_norm,
    )


def pair(*size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image (2, 1, *size) and class probabilities (2, 3, *size)."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 1, *size, generator=generator)
    return image, torch.randn(2, 3, *size, generator=generator).softmax(dim=1)


def convolutions(network: nn.Module) -> list[nn.Conv2d | nn.Conv3d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]


def test_scores_are_one_per_piece_and_features_one_per_level() -> None:
    scores, features = discriminator(strides=((2, 2, 1), (2, 2, 2)))(*pair(16, 24, 8))
    assert scores.shape == (2, 1, 4, 6, 4)
    assert [tuple(feature.shape) for feature in features] == [(2, 4, 8, 12, 8), (2, 8, 4, 6, 4)]
    assert scores.min() < 0 or scores.max() > 1  # no activation at the end


def test_scores_change_when_only_the_segmentation_changes() -> None:
    network = discriminator().eval()
    image, segmentation = pair(8, 8, 8)
    swapped = segmentation[:, [0, 2, 1]]  # left and right lung exchanged
    assert not torch.allclose(network(image, segmentation)[0], network(image, swapped)[0], atol=1e-3)


def test_scores_change_when_only_the_image_changes() -> None:
    network = discriminator().eval()
    image, segmentation = pair(8, 8, 8)
    assert not torch.allclose(network(image, segmentation)[0], network(-image, segmentation)[0], atol=1e-3)


def test_volumetric_discriminator_sees_across_slices() -> None:
    network = discriminator().eval()
    image, segmentation = pair(8, 8, 8)
    shuffled = torch.tensor([3, 0, 7, 1, 5, 2, 6, 4])
    scores, _ = network(image, segmentation)
    other, _ = network(image[..., shuffled], segmentation[..., shuffled])
    assert not torch.allclose(scores.mean(), other.mean(), atol=1e-5)


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (16, 16, 1)), (3, (16, 16, 8))])
def test_convolutions_are_of_its_dimensions(spatial_dims: int, size: tuple[int, ...]) -> None:
    network = discriminator(spatial_dims=spatial_dims, strides=((2, 2, 1), (2, 2, 1)))
    kind = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    assert len(convolutions(network)) == 3
    assert all(isinstance(layer, kind) for layer in convolutions(network))
    scores, _ = network(*pair(*size))
    assert scores.shape == ((2, 1, 4, 4) if spatial_dims == 2 else (2, 1, 4, 4, 8))


def test_width_doubles_with_each_level_up_to_eight_times() -> None:
    network = discriminator(strides=((2, 2, 2),) * 5)
    assert [layer.out_channels for layer in convolutions(network)] == [4, 8, 16, 32, 32, 1]


def test_spectral_norm_bounds_the_largest_singular_value_near_one() -> None:
    network = discriminator()
    with torch.no_grad():
        for layer in convolutions(network):  # far from 1, were it not for the norm
            layer.parametrizations.weight.original.mul_(30.0)  # type: ignore[operator, union-attr]
    image, segmentation = pair(8, 8, 8)
    for _ in range(30):
        network(image, segmentation)
    for layer in convolutions(network.eval()):
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2).item()
        assert largest == pytest.approx(1.0, abs=0.03)


def test_without_spectral_norm_weights_are_plain() -> None:
    network = discriminator(use_spectral_norm=False)
    with torch.no_grad():
        for layer in convolutions(network):
            layer.weight.mul_(30.0)
    network(*pair(8, 8, 8))
    assert all(torch.linalg.matrix_norm(w.weight.detach().flatten(1), ord=2) > 5 for w in convolutions(network))


def test_gradient_reaches_the_segmentation() -> None:
    image, segmentation = pair(8, 8, 8)
    segmentation.requires_grad_()
    discriminator()(image, segmentation)[0].mean().backward()
    assert segmentation.grad is not None
    assert (segmentation.grad.abs().sum(dim=(0, 2, 3, 4)) > 0).all()


def test_cases_of_a_batch_do_not_see_each_other() -> None:
    network = discriminator().eval()
    image, segmentation = pair(8, 8, 8)
    together, _ = network(image, segmentation)
    alone, _ = network(image[:1], segmentation[:1])
    torch.testing.assert_close(together[:1], alone)
