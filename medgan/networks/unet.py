"""The generator: a U-Net after nnU-Net, assembled from MONAI's dynamic U-Net blocks.

Assembled here rather than by MONAI's `DynUNet`, which interpolates every deep-supervision output to full size and
stacks them; ours come at their own resolution, where the loss is cheap.
"""

from collections.abc import Sequence

import torch
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetOutBlock, UnetResBlock, UnetUpBlock
from torch import nn

_NORM = ("INSTANCE", {"affine": True})


class UNet(nn.Module):
    """U-Net of 2 or 3 spatial dimensions.

    Args:
        spatial_dims: 2 or 3; strides and kernels have as many entries.
        in_channels: image channels.
        num_classes: classes with the background.
        channels: channels of each level, first to deepest.
        strides: downsampling into each level after the first.
        kernels: convolution kernel of each level.
        residual: residual instead of plain blocks.
        deep_supervision: give coarser levels heads of their own.

    Raises:
        ValueError: if channels, strides and kernels do not agree in length.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        channels: Sequence[int],
        strides: Sequence[tuple[int, ...]],
        kernels: Sequence[tuple[int, ...]],
        residual: bool,
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        if not len(channels) == len(kernels) == len(strides) + 1:
            raise ValueError(f"{len(channels)} channels, {len(kernels)} kernels and {len(strides)} strides disagree")
        block = UnetResBlock if residual else UnetBasicBlock
        inputs = [in_channels, *channels[:-1]]
        all_strides = [(1,) * spatial_dims, *strides]
        self.encoder = nn.ModuleList(
            block(spatial_dims, c_in, c_out, kernel_size=kernel, stride=stride, norm_name=_NORM)
            for c_in, c_out, kernel, stride in zip(inputs, channels, kernels, all_strides, strict=True)
        )
        self.decoder = nn.ModuleList(
            UnetUpBlock(
                spatial_dims,
                channels[level + 1],
                channels[level],
                kernel_size=kernels[level],
                stride=strides[level],
                upsample_kernel_size=strides[level],
                norm_name=_NORM,
            )
            for level in reversed(range(len(strides)))
        )
        supervised = range(max(1, len(strides) - 1)) if deep_supervision else range(1)
        self.heads = nn.ModuleList(UnetOutBlock(spatial_dims, channels[level], num_classes) for level in supervised)
        self.apply(_initialise)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return logits (B, num_classes, ...), full size first.

        In training with deep supervision the coarser levels follow, each at half the size of the one before, but for
        the two coarsest; otherwise the list has one element.
        """
        skips = []
        features = image
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        skips.pop()
        finest_first: list[torch.Tensor] = []
        for stage in self.decoder:
            features = stage(features, skips.pop())
            finest_first.insert(0, features)
        num_outputs = len(self.heads) if self.training else 1
        return [head(level) for head, level in zip(self.heads[:num_outputs], finest_first, strict=False)]


def _initialise(module: nn.Module) -> None:
    """He initialisation for the blocks' leaky ReLU (slope 0.01)."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
