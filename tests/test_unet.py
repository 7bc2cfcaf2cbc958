"""The U-Net: what comes out, and at which size."""

import pytest
import torch
from torch import nn

from medgan.networks.unet import UNet


def unet(
    *,
    strides: tuple[tuple[int, ...], ...] = ((2, 2, 2),) * 3,
    num_classes: int = 3,
    in_channels: int = 1,
    residual: bool = False,
    deep_supervision: bool = True,
) -> UNet:
    torch.manual_seed(0)
    dims = len(strides[0])
    return UNet(
        spatial_dims=dims,
        in_channels=in_channels,
        num_classes=num_classes,
        channels=(4, 6, 8, 8, 8)[: len(strides) + 1],
        strides=strides,
        kernels=((3,) * dims,) * (len(strides) + 1),
        residual=residual,
        deep_supervision=deep_supervision,
    )


def shapes(outputs: list[torch.Tensor]) -> list[tuple[int, ...]]:
    return [tuple(output.shape) for output in outputs]


@pytest.mark.parametrize("residual", [False, True])
def test_training_gives_full_size_logits_first_and_coarser_levels_after(residual: bool) -> None:
    network = unet(strides=((2, 2, 1), (2, 2, 2), (2, 2, 2)), in_channels=2, residual=residual)
    outputs = network(torch.randn(2, 2, 16, 24, 8))
    assert shapes(outputs) == [(2, 3, 16, 24, 8), (2, 3, 8, 12, 8)]
    assert not torch.equal(outputs[0][:, :, ::2, ::2], outputs[1])


@pytest.mark.parametrize(("num_strides", "num_outputs"), [(1, 1), (2, 1), (3, 2), (4, 3)])
def test_all_levels_but_the_two_coarsest_are_supervised(num_strides: int, num_outputs: int) -> None:
    outputs = unet(strides=((2, 2),) * num_strides)(torch.randn(1, 1, 32, 32))
    assert shapes(outputs) == [(1, 3, 32 // 2**level, 32 // 2**level) for level in range(num_outputs)]


def test_evaluation_gives_the_full_size_alone_with_the_same_weights() -> None:
    network = unet()
    image = torch.randn(1, 1, 16, 16, 16)
    in_training = network(image)
    in_evaluation = network.eval()(image)
    assert shapes(in_evaluation) == [(1, 3, 16, 16, 16)]
    assert torch.equal(in_evaluation[0], in_training[0])


def test_without_deep_supervision_there_is_one_head() -> None:
    network = unet(deep_supervision=False)
    assert shapes(network(torch.randn(1, 1, 16, 16, 16))) == [(1, 3, 16, 16, 16)]
    assert len(network.heads) == 1


def test_every_weight_takes_part_in_training() -> None:
    network = unet(residual=True)
    sum(output.square().mean() for output in network(torch.randn(2, 1, 16, 16, 16))).backward()
    idle = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


def test_logits_see_far_around_a_voxel() -> None:
    network = unet(strides=((2, 2, 2),) * 2).eval()
    image = torch.randn(1, 1, 16, 16, 16, requires_grad=True)
    network(image)[0][0, 1, 8, 8, 8].backward()
    assert image.grad is not None
    seen = image.grad[0, 0].abs() > 0
    assert seen[2, 8, 8]
    assert seen[8, 8, 14]


def test_same_seed_gives_the_same_weights() -> None:
    first, second = unet().state_dict(), unet().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_initial_activations_neither_vanish_nor_explode() -> None:
    network = unet(strides=((2, 2, 2),) * 3)
    logits = network(torch.randn(1, 1, 16, 16, 16))[0]
    assert 0.1 < logits.std().item() < 10.0


@pytest.mark.parametrize("dims", [2, 3])
def test_convolutions_are_of_its_dimensions(dims: int) -> None:
    network = unet(strides=((2,) * dims,) * 2)
    wanted, other = (nn.Conv2d, nn.Conv3d) if dims == 2 else (nn.Conv3d, nn.Conv2d)
    assert any(isinstance(module, wanted) for module in network.modules())
    assert not any(isinstance(module, other) for module in network.modules())


def test_lengths_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="2 channels, 2 kernels and 2 strides disagree"):
        UNet(
            spatial_dims=2,
            in_channels=1,
            num_classes=2,
            channels=(4, 8),
            strides=((2, 2), (2, 2)),
            kernels=((3, 3), (3, 3)),
            residual=False,
            deep_supervision=False,
        )
