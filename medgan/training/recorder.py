"""The course of a training, as lines of JSON and, where TensorBoard is installed, as its events."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from medgan.errors import MedganError

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
            folder.mkdir(parents=True, exist_ok=True)
            kept = _lines_until(path, first_step)
            self._lines = path.open("w", encoding="utf-8")
        except OSError as error:
            raise MedganError(f"{path} could not be written: {error.strerror}.") from error
        self._lines.writelines(kept)
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
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()
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
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]


def _summary_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter  # noqa: PLC0415  an optional extra
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first_step or None)
