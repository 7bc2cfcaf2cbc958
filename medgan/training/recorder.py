"""The course of a training, as lines of JSON and, where TensorBoard is installed, as its events."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from medgan.errors import MedganError
from medgan.files import write_text

METRICS_FILE = "metrics.jsonl"


class Recorder:
    """Writes `metrics.jsonl` and `logs/` of a model folder.

    Args:
        folder: model folder; created if absent.
        first_step: 0 starts the record anew; otherwise lines of later steps, which will be trained again, are dropped.
        use_tensorboard: write events as well, if the package is there.
    """

    def __init__(self, folder: Path, *, first_step: int, use_tensorboard: bool) -> None:
        path = folder / METRICS_FILE
        try:
            write_text(path, "".join(_lines_until(path, first_step)))
            self._lines = path.open("ab", buffering=0)  # a full disk shows at once, not when the file is closed
        except OSError as error:
            raise MedganError(f"{path} could not be written: {error.strerror}.") from error
        self._path = path
        self._events = _summary_writer(folder / "logs", first_step) if use_tensorboard else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        if self._events is not None:
            self._events.close()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record named numbers of a step."""
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            self._lines.write((json.dumps({"step": step, **line}) + "\n").encode())
        except OSError as error:
            raise MedganError(f"{self._path} could not be written: {error.strerror}.") from error
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def panel(self, step: int, batch: dict[str, Any], prediction: torch.Tensor | None) -> None:
        """Record the middle slice of a batch's first patch: image, reference, prediction, side by side."""
        if self._events is None or prediction is None:
            return
        middle = batch["image"].shape[-1] // 2
        image = batch["image"][0, 0, :, :, middle]
        parts = [image, batch["classes"][0, :, :, middle], prediction[0, :, :, middle].cpu()]
        self._events.add_image(
            "image, reference, prediction", torch.cat([_to_grey(p) for p in parts], dim=1)[None], step
        )


def _to_grey(slice_ij: torch.Tensor) -> torch.Tensor:
    """Return a slice (I, J) as a picture (rows, columns) from 0 to 1, anterior up and patient right on the left."""
    values = slice_ij.float()
    scaled = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-6)
    return scaled.flip(0, 1).T


def _lines_until(path: Path, step: int) -> list[str]:
    if step == 0 or not path.is_file():
        return []
    kept = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            continue  # torn by a crash
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError) as error:
            raise MedganError(f"{path}:{number}: must be a JSON object with its step; remove the line.") from error
    return kept


def _summary_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter  # noqa: PLC0415  an optional extra
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)  # hides this step and later
