"""The adversary: how the discriminator learns, and how it pulls the generator.

The discriminator must not tell reference from prediction by how hard their values are (a network told one-hot from soft
values learns nothing of shape). So the reference is given the prediction's own confidences, and both get noise. Its
gradient never reaches the generator's weights in its own step, nor the generator's its weights. The weight of its pull
starts at 0 and rises.
"""

from dataclasses import dataclass

import torch
from torch import nn

from medgan.config import AdversaryConfig
from medgan.training.losses import LOSSES, feature_matching_loss


def soften_reference(classes: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """Return the reference as class probabilities that are as confident, voxel by voxel, as the prediction.

    At each voxel the prediction's probabilities of its own class and of the reference's class change places. So both
    hold the same values everywhere and differ only in which class they stand for; where the two agree they are equal.

    Args:
        classes: (B, I, J, K) reference class indices.
        prediction: (B, N, I, J, K) class probabilities; no gradient flows back to it.
    """
    prediction = prediction.detach()
    own = prediction.argmax(dim=1, keepdim=True)
    reference = classes[:, None]
    highest, wanted = prediction.gather(1, own), prediction.gather(1, reference)
    return prediction.scatter(1, own, wanted).scatter(1, reference, highest)


@dataclass(frozen=True)
class DiscriminatorStep:
    """What one look of the discriminator gave: its loss, and its mean scores of references and predictions."""

    loss: torch.Tensor
    real_score: torch.Tensor
    fake_score: torch.Tensor


class Adversary:
    """A discriminator and the settings of the game.

    Args:
        discriminator: image (B, C, I, J, K) and segmentation (B, N, I, J, K) to scores and features.
        config: the game.
    """

    def __init__(self, discriminator: nn.Module, config: AdversaryConfig) -> None:
        self.discriminator = discriminator
        self.config = config
        self._losses = LOSSES[config.loss]

    def ramp(self, progress: float) -> float:
        """Return the share of the full weights, 0 to 1, at `progress` (0 start, 1 end of the training)."""
        beyond = progress - self.config.warmup_fraction
        if beyond <= 0.0:
            return 0.0
        return min(1.0, beyond / self.config.ramp_fraction) if self.config.ramp_fraction else 1.0

    def discriminator_step(
        self, image: torch.Tensor, reference: torch.Tensor, prediction: torch.Tensor, *, progress: float
    ) -> DiscriminatorStep:
        """Return the discriminator's loss; `prediction` is detached, so the generator's weights stay untouched.

        Args:
            image: (B, C, I, J, K).
            reference: `soften_reference` of the same prediction, (B, N, I, J, K).
            prediction: class probabilities (B, N, I, J, K).
            progress: 0 to 1; the noise falls with it.
        """
        real, _ = self.discriminator(image, self._with_noise(reference, progress))
        fake, _ = self.discriminator(image, self._with_noise(prediction.detach(), progress))
        loss = self._losses.discriminator(real, fake)
        return DiscriminatorStep(loss, real.detach().float().mean(), fake.detach().float().mean())

    def generator_loss(
        self, image: torch.Tensor, reference: torch.Tensor, prediction: torch.Tensor, *, progress: float
    ) -> torch.Tensor:
        """Return the weighted pull on the generator: adversarial loss and feature matching, ramped.

        The discriminator's weights take no gradient from it. Arguments as for `discriminator_step`.
        """
        share = self.ramp(progress)
        if share == 0.0:
            return torch.zeros((), device=image.device)
        self.discriminator.requires_grad_(False)
        fake, fake_features = self.discriminator(image, self._with_noise(prediction, progress))
        loss = self.config.weight * self._losses.generator(fake)
        if self.config.feature_matching_weight:
            with torch.no_grad():
                _, real_features = self.discriminator(image, self._with_noise(reference, progress))
            loss = loss + self.config.feature_matching_weight * feature_matching_loss(real_features, fake_features)
        self.discriminator.requires_grad_(True)
        return share * loss

    def _with_noise(self, segmentation: torch.Tensor, progress: float) -> torch.Tensor:
        deviation = self.config.instance_noise * (1.0 - progress)
        return segmentation + deviation * torch.randn_like(segmentation) if deviation > 0.0 else segmentation
