"""Networks built from a config."""

import pytest
import torch
from torch import nn

from medgan.config import AdversaryConfig, GeneratorConfig
from medgan.networks.discriminator import PatchDiscriminator
from medgan.networks.plan import plan_generator
from medgan.networks.registry import DISCRIMINATORS, GENERATORS, build_discriminator, build_generator
from medgan.networks.slicewise import Slicewise
from medgan.networks.unet import UNet

ADVERSARY = AdversaryConfig(channels=4, num_layers=2)


def planned(
    spatial_dims: int, size: tuple[int, int, int], spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> GeneratorConfig:
    config = GeneratorConfig(spatial_dims=spatial_dims, channels=4, max_channels=8)  # type: ignore[arg-type]
    return plan_generator(config, size, spacing_mm)


def build_pair(config: GeneratorConfig, *, is_planar: bool = False) -> tuple[nn.Module, nn.Module]:
    generator = build_generator(config, in_channels=2, num_classes=3)
    discriminator = build_discriminator(ADVERSARY, config, in_channels=2, num_classes=3, is_planar=is_planar)
    return generator, discriminator


def has(network: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in network.modules())


@pytest.mark.parametrize(
    ("spatial_dims", "size", "spacing_mm"),
    [
        (3, (16, 16, 16), (1.0, 1.0, 1.0)),
        (3, (32, 32, 8), (1.5, 1.5, 8.0)),
        (2, (16, 16, 5), (1.5, 1.5, 8.0)),
        (2, (16, 16, 1), (1.0, 1.0, 1.0)),
    ],
)
def test_generator_and_discriminator_fit_each_other(
    spatial_dims: int, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    generator, discriminator = build_pair(planned(spatial_dims, size, spacing_mm), is_planar=size[2] == 1)
    image = torch.randn(2, 2, *size)
    logits = generator(image)
    assert logits[0].shape == (2, 3, *size)
    scores, _ = discriminator(image, logits[0].softmax(dim=1))
    scores.square().mean().backward()
    weights = [weight for name, weight in generator.named_parameters() if "heads.1" not in name]
    assert all(weight.grad is not None for weight in weights)
    assert torch.isfinite(torch.stack([w.grad.abs().sum() for w in weights if w.grad is not None])).all()


def test_three_dimensions_are_a_volumetric_network() -> None:
    generator, discriminator = build_pair(planned(3, (16, 16, 16)))
    assert isinstance(generator, UNet)
    for network in (generator, discriminator):
        assert has(network, nn.Conv3d)
        assert not has(network, nn.Conv2d)


def test_two_dimensional_generator_faces_a_volumetric_discriminator() -> None:
    generator, discriminator = build_pair(planned(2, (16, 16, 5)))
    assert isinstance(generator, Slicewise)
    assert has(generator, nn.Conv2d)
    assert not has(generator, nn.Conv3d)
    assert has(discriminator, nn.Conv3d)


def test_true_images_face_a_two_dimensional_discriminator() -> None:
    _, discriminator = build_pair(planned(2, (16, 16, 1)), is_planar=True)
    assert has(discriminator, nn.Conv2d)
    assert not has(discriminator, nn.Conv3d)


def test_channels_double_up_to_their_limit() -> None:
    config = planned(3, (32, 32, 32)).model_copy(update={"max_channels": 12})
    generator = build_generator(config, in_channels=1, num_classes=2)
    assert isinstance(generator, UNet)
    widths = [next(m for m in stage.modules() if isinstance(m, nn.Conv3d)).out_channels for stage in generator.encoder]
    assert widths == [4, 8, 12, 12]


def test_discriminator_takes_the_strides_of_the_generator() -> None:
    config = planned(3, (32, 32, 8), (1.5, 1.5, 8.0))
    _, discriminator = build_pair(config)
    assert isinstance(discriminator, PatchDiscriminator)
    layers = [m for m in discriminator.levels.modules() if isinstance(m, nn.Conv3d)]
    assert config.strides is not None
    assert tuple(layer.stride for layer in layers) == config.strides[:2] == ((2, 2, 1), (2, 2, 1))
    assert [layer.kernel_size for layer in layers] == [(4, 4, 3), (4, 4, 3)]


@pytest.mark.parametrize("is_normalised", [True, False])
def test_spectral_norm_is_a_setting(is_normalised: bool) -> None:
    adversary = ADVERSARY.model_copy(update={"spectral_norm": is_normalised})
    config = planned(3, (16, 16, 16))
    network = build_discriminator(adversary, config, in_channels=1, num_classes=2, is_planar=False)
    normalised = [name for name, _ in network.named_parameters() if name.endswith("parametrizations.weight.original")]
    assert len(normalised) == (3 if is_normalised else 0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_generator_starts_alike_with_and_without_an_adversary(spatial_dims: int) -> None:
    config = planned(spatial_dims, (16, 16, 8))
    torch.manual_seed(5)
    alone = build_generator(config, in_channels=2, num_classes=3).state_dict()
    torch.manual_seed(5)
    beside_an_adversary = build_pair(config)[0].state_dict()
    assert all(torch.equal(alone[name], beside_an_adversary[name]) for name in alone)
    torch.manual_seed(6)
    other = build_generator(config, in_channels=2, num_classes=3).state_dict()
    assert any(not torch.equal(alone[name], other[name]) for name in alone)


def test_every_number_of_dimensions_has_both_networks() -> None:
    assert sorted(GENERATORS) == sorted(DISCRIMINATORS) == [2, 3]
