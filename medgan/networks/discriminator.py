"""The discriminator: judges patches of image and segmentation together (PatchGAN, Isola et al., CVPR 2017)."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Scores overlapping pieces of a volume for how much image and segmentation look like a reference pair.

    No normalisation across the batch: one or two volumes have no statistics worth sharing. Inputs of one slice
    (K = 1) are convolved in two dimensions.

    Args:
        spatial_dims: 3, or 2 for true 2D images.
        in_channels: image channels plus classes.
        channels: channels of the first level; doubled at each further one, up to eight times.
        strides: stride of each level, as the generator's, so that thick slices are treated alike.
        use_spectral_norm: normalise each convolution by its largest singular value.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        channels: int,
        strides: tuple[tuple[int, ...], ...],
        use_spectral_norm: bool,
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        convolution: Callable[..., nn.Module] = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        bounded = spectral_norm if use_spectral_norm else _unchanged
        self.levels = nn.ModuleList()
        width_in = in_channels
        for level, stride in enumerate(strides):
            width = channels * 2 ** min(level, 3)
            kernel = tuple(4 if step == 2 else 3 for step in stride[:spatial_dims])
            layer = convolution(width_in, width, kernel, stride=stride[:spatial_dims], padding=1)
            self.levels.append(nn.Sequential(bounded(layer), nn.LeakyReLU(0.2)))
            width_in = width
        self.head = bounded(convolution(width_in, 1, 3, padding=1))

    def forward(self, image: torch.Tensor, segmentation: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return scores and features.

        Args:
            image: (B, C, I, J, K).
            segmentation: (B, num_classes, I, J, K), class probabilities.

        Returns:
            Unbounded scores (B, 1, ...), higher for reference pairs, and the activations of each level.
        """
        features = torch.cat((image, segmentation), dim=1)
        if self.spatial_dims == 2:
            features = features.squeeze(-1)
        activations = []
        for level in self.levels:
            features = level(features)
            activations.append(features)
        return self.head(features), activations


def _unchanged(module: nn.Module) -> nn.Module:
    return module
