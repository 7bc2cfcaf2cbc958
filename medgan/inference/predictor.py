"""From a volume to its labels, with a generator that is trained or in training."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medgan.config import Config, GeneratorConfig, InferenceConfig, load_config
from medgan.device import describe_device, pick_device, pick_dtype
from medgan.errors import MedganError
from medgan.inference.engine import TorchEngine
from medgan.inference.sliding_window import sliding_window_scores
from medgan.labels import LabelMap
from medgan.networks.registry import build_generator
from medgan.preprocessing.prepare import Prepared, prepare_for, restore_classes
from medgan.training.checkpoint import load_weights, read_json
from medgan.volume.volume import Volume

_FREE_SECTIONS = ("inference", "outputs")


class Predictor:
    """Segments volumes with a trained model.

    Args:
        model_dir: folder that training wrote.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        overrides: `section.key=value` texts for the sections `inference` and `outputs`; what training fixed stays.

    Raises:
        MedganError: if the folder is no model, is damaged, or an override is not accepted.

    Example:
        >>> predictor = medgan.Predictor("quickstart/model")                    # doctest: +SKIP
        >>> labels = predictor.predict(medgan.read_volume("case_07.nii.gz"))    # doctest: +SKIP
        >>> medgan.write_volume(labels, "case_07_labels.nii.gz")                # doctest: +SKIP
    """

    def __init__(self, model_dir: str | Path, *, device: str = "auto", overrides: tuple[str, ...] = ()) -> None:
        folder = Path(model_dir)
        if not (folder / "config.yaml").is_file():
            raise MedganError(f"model {folder}: must be a folder with config.yaml, as `medgan train` writes.")
        _refuse_fixed(overrides)
        self.config: Config = load_config(folder / "config.yaml", overrides)
        self.labels = LabelMap.from_yaml(folder / "labels.yaml")
        self.record = read_json(folder / "training.json")
        self._num_channels = _num_channels(self.record, folder / "training.json")
        _require_plan(self.config.generator, folder / "config.yaml")
        generator = build_generator(
            self.config.generator, in_channels=self._num_channels, num_classes=self.labels.num_classes
        )
        self.weights_sha256 = load_weights(generator, folder / "generator.safetensors")
        self._engine = build_engine(generator, self.config.inference, self.labels, device=device)

    def predict(self, volume: Volume, *, where: str = "volume") -> Volume:
        """Return the labels of `volume` as a label volume (1, I, J, K) on its own grid.

        Args:
            volume: image with as many channels as the model was trained on.
            where: names the case in messages.

        Raises:
            MedganError: if the number of channels differs, or the scores are not finite.
        """
        if volume.num_channels != self._num_channels:
            raise MedganError(
                f"{where}: must have as many channels as in training, {self._num_channels}; "
                f"found {volume.num_channels}."
            )
        prepared = prepare_for(volume, self.config.preprocessing)
        scores = predict_scores(prepared, self._engine, window=self.config.patch.size, config=self.config.inference)
        return Volume(self.labels.to_values(restore_classes(scores, prepared))[None], volume.affine)

    def describe(self) -> dict[str, object]:
        """Return what ran, for records: device, precision and inference settings."""
        return {
            "device": describe_device(self._engine.device),
            "precision": str(self._engine.dtype).removeprefix("torch."),
            "inference": self.config.inference.model_dump(mode="json"),
        }


def build_engine(generator: nn.Module, config: InferenceConfig, labels: LabelMap, *, device: str) -> TorchEngine:
    """Return a generator ready to run as the section `inference` says."""
    chosen = pick_device(device)
    return TorchEngine(
        generator,
        device=chosen,
        dtype=pick_dtype(chosen, config.precision),
        mirrored_classes=labels.mirrored_classes if config.mirror else None,
    )


def predict_scores(
    prepared: Prepared, engine: TorchEngine, *, window: tuple[int, int, int], config: InferenceConfig
) -> np.ndarray:
    """Return class probabilities (num_classes, I, J, K) on the grid of a prepared volume."""
    image = torch.from_numpy(prepared.image)
    scores = sliding_window_scores(
        image.to(engine.device),
        engine,
        window=window,
        overlap=config.overlap,
        blending=config.blending,
        window_batch=config.window_batch,
        fill=float(image.min()),
    )
    return scores.cpu().numpy()


def _num_channels(record: dict[str, Any], path: Path) -> int:
    found = record.get("num_channels")
    if type(found) is not int or found < 1:
        raise MedganError(f"{path}: num_channels must be a whole number of 1 or more, found {found!r:.80}.")
    return found


def _require_plan(generator: GeneratorConfig, path: Path) -> None:
    """Raise `MedganError` unless strides and kernels stand in a model's config, as `plan_generator` filled them in."""
    if not generator.strides or not generator.kernels or len(generator.kernels) != len(generator.strides) + 1:
        raise MedganError(
            f"{path}: generator.strides and generator.kernels must be those of the training, with one kernel more than "
            f"strides, found {generator.strides} and {generator.kernels}."
        )


def _refuse_fixed(overrides: tuple[str, ...]) -> None:
    for override in overrides:
        if override.partition(".")[0] not in _FREE_SECTIONS:
            raise MedganError(
                f"override {override!r}: only the sections {' and '.join(_FREE_SECTIONS)} may change after training."
            )
