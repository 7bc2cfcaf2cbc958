"""Adversarial losses as pairs of functions on unbounded scores, and the supervised loss.

Every function takes the discriminator's scores as they are, with no activation before it, and returns a scalar that is
0 or more where the definition allows. Scores are taken to float32, so that all of them are safe under autocast.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F


def bce_generator_loss(fake: torch.Tensor) -> torch.Tensor:
    """Return the non-saturating loss -log sigmoid(fake), averaged (Goodfellow et al., NeurIPS 2014)."""
    return F.softplus(-fake.float()).mean()


def bce_discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return half of -log sigmoid(real) - log(1 - sigmoid(fake)), averaged."""
    return 0.5 * (F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean())


def least_squares_generator_loss(fake: torch.Tensor) -> torch.Tensor:
    """Return (fake - 1)^2, averaged (LSGAN, Mao et al., ICCV 2017)."""
    return (fake.float() - 1.0).square().mean()


def least_squares_discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return half of (real - 1)^2 + fake^2, averaged."""
    return 0.5 * ((real.float() - 1.0).square().mean() + fake.float().square().mean())


def hinge_generator_loss(fake: torch.Tensor) -> torch.Tensor:
    """Return -fake, averaged (Lim and Ye, 2017; Miyato et al., ICLR 2018). Negative where the generator wins."""
    return -fake.float().mean()


def hinge_discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return half of max(0, 1 - real) + max(0, 1 + fake), averaged."""
    return 0.5 * (F.relu(1.0 - real.float()).mean() + F.relu(1.0 + fake.float()).mean())


class AdversarialLoss(NamedTuple):
    """The two sides of one adversarial game."""

    generator: Callable[[torch.Tensor], torch.Tensor]
    discriminator: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


LOSSES: dict[str, AdversarialLoss] = {
    "bce": AdversarialLoss(bce_generator_loss, bce_discriminator_loss),
    "least_squares": AdversarialLoss(least_squares_generator_loss, least_squares_discriminator_loss),
    "hinge": AdversarialLoss(hinge_generator_loss, hinge_discriminator_loss),
}


class SupervisedLoss:
    """Dice + cross-entropy, with coarser levels at half the weight of the one before (nnU-Net)."""

    def __init__(self) -> None:
        from monai.losses.dice import DiceCELoss  # noqa: PLC0415  2.4 s that only training needs

        self._loss = DiceCELoss(
            to_onehot_y=True, softmax=True, include_background=False, batch=True, smooth_nr=1e-5, smooth_dr=1e-5
        )

    def __call__(self, logits: list[torch.Tensor], classes: torch.Tensor) -> torch.Tensor:
        """Return the weighted mean over levels.

        Args:
            logits: (B, num_classes, I', J', K') per level, full size first.
            classes: (B, I, J, K) class indices; coarser levels take the nearest voxel.
        """
        weights = [0.5**level for level in range(len(logits))]
        target = classes[:, None].float()
        total = torch.zeros((), device=classes.device)
        for weight, level in zip(weights, logits, strict=True):
            if level.shape[2:] != target.shape[2:]:
                target = F.interpolate(target, size=level.shape[2:], mode="nearest-exact")
            total = total + weight * self._loss(level.float(), target)
        return total / sum(weights)


def feature_matching_loss(real: list[torch.Tensor], fake: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean absolute distance between discriminator features of reference and prediction, level by level.

    Both must come from the same images (SegAN, Xue et al., Neuroinformatics 2018); `real` gives no gradient.
    """
    distances = [F.l1_loss(f.float(), r.detach().float()) for r, f in zip(real, fake, strict=True)]
    return torch.stack(distances).mean()
