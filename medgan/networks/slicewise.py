"""A 2D network on volumes: every slice (I, J) on its own, so that it still faces a volumetric discriminator."""

import torch
from torch import nn


class Slicewise(nn.Module):
    """Folds the slices of (B, C, I, J, K) into the batch of a 2D network and back.

    Args:
        network: takes (B * K, C, I, J) and returns a list of (B * K, N, I', J').
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the network's outputs as volumes (B, N, I', J', K)."""
        batch, channels, i, j, k = image.shape
        slices = image.permute(0, 4, 1, 2, 3).reshape(batch * k, channels, i, j)
        outputs = self.network(slices.contiguous(memory_format=torch.channels_last))
        return [out.reshape(batch, k, *out.shape[1:]).permute(0, 2, 3, 4, 1).contiguous() for out in outputs]
