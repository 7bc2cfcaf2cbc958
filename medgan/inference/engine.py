"""A generator ready to run: on its device, in its precision, without gradients."""

import torch
from torch import nn

from medgan.device import autocast, batch_to_device, to_device
from medgan.errors import MedganError


class TorchEngine:
    """Runs a generator eagerly in torch.

    Args:
        generator: (B, C, I, J, K) to a list of logits, full size first; taken to `device` and to evaluation.
        device: where it runs.
        dtype: what convolutions are computed in.
        mirrored_classes: if given, probabilities are averaged with those of the left-right mirrored window, in which
            each class stands for its mirror partner (`LabelMap.mirrored_classes`).
    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        device: torch.device,
        dtype: torch.dtype,
        mirrored_classes: tuple[int, ...] | None = None,
    ) -> None:
        self.generator = to_device(generator, device).eval()
        self.device = device
        self.dtype = dtype
        self.mirrored_classes = list(mirrored_classes) if mirrored_classes else None

    @torch.inference_mode()
    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """Return class probabilities (B, num_classes, I, J, K), float32, of windows (B, C, I, J, K).

        Raises:
            MedganError: if a score is not finite, which argmax would silently call background.
        """
        windows = batch_to_device(windows, self.device)
        probabilities = self._probabilities(windows)
        if self.mirrored_classes is not None:
            mirrored = self._probabilities(windows.flip(2)).flip(2)
            probabilities = (probabilities + mirrored[:, self.mirrored_classes]) / 2
        if not torch.isfinite(probabilities).all():
            raise MedganError("the generator's scores are not finite; use inference.precision=fp32 or train again.")
        return probabilities

    def _probabilities(self, windows: torch.Tensor) -> torch.Tensor:
        with autocast(self.device, self.dtype):
            logits: torch.Tensor = self.generator(windows)[0]
        return logits.float().softmax(dim=1)
