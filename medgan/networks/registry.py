"""Networks by their number of spatial dimensions; a new kind is one line here."""

from collections.abc import Callable

from torch import nn

from medgan.config import AdversaryConfig, GeneratorConfig
from medgan.networks.discriminator import PatchDiscriminator
from medgan.networks.slicewise import Slicewise
from medgan.networks.unet import UNet


def build_generator(config: GeneratorConfig, *, in_channels: int, num_classes: int) -> nn.Module:
    """Return a generator: (B, in_channels, I, J, K) to a list of logits (B, num_classes, I', J', K'), full size first.

    Args:
        config: with strides and kernels planned (`plan_generator`).
        in_channels: image channels.
        num_classes: classes with the background.
    """
    return GENERATORS[config.spatial_dims](config, in_channels, num_classes)


def build_discriminator(
    config: AdversaryConfig, generator: GeneratorConfig, *, in_channels: int, num_classes: int, is_planar: bool
) -> nn.Module:
    """Return a discriminator of image (B, in_channels, I, J, K) and segmentation (B, num_classes, I, J, K).

    It is volumetric for volumes, whatever the dimensions of the generator, and 2D for true 2D images.

    Args:
        config: channels, layers and normalisation.
        generator: its strides set the discriminator's.
        in_channels: image channels.
        num_classes: classes with the background.
        is_planar: the patches are 2D images (K = 1).
    """
    return DISCRIMINATORS[2 if is_planar else 3](config, generator, in_channels + num_classes)


def _unet(config: GeneratorConfig, in_channels: int, num_classes: int) -> UNet:
    strides, kernels, dims = config.strides or (), config.kernels or (), config.spatial_dims
    return UNet(
        spatial_dims=dims,
        in_channels=in_channels,
        num_classes=num_classes,
        channels=[min(config.channels * 2**level, config.max_channels) for level in range(len(kernels))],
        strides=[stride[:dims] for stride in strides],
        kernels=[kernel[:dims] for kernel in kernels],
        residual=config.residual,
        deep_supervision=config.deep_supervision,
    )


def _slicewise_unet(config: GeneratorConfig, in_channels: int, num_classes: int) -> Slicewise:
    return Slicewise(_unet(config, in_channels, num_classes))


def _patch_discriminator(spatial_dims: int) -> Callable[[AdversaryConfig, GeneratorConfig, int], nn.Module]:
    def build(config: AdversaryConfig, generator: GeneratorConfig, in_channels: int) -> PatchDiscriminator:
        return PatchDiscriminator(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            channels=config.channels,
            strides=(generator.strides or ())[: config.num_layers],
            use_spectral_norm=config.spectral_norm,
        )

    return build


GENERATORS: dict[int, Callable[[GeneratorConfig, int, int], nn.Module]] = {2: _slicewise_unet, 3: _unet}
DISCRIMINATORS: dict[int, Callable[[AdversaryConfig, GeneratorConfig, int], nn.Module]] = {
    2: _patch_discriminator(2),
    3: _patch_discriminator(3),
}
