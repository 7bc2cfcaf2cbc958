"""medgan: adversarially trained segmentation of medical volumes.

The names below are what scripts use; each is loaded when it is first asked for, so that `import medgan` is quick.

Example:
    >>> import medgan
    >>> model = medgan.train("configs/debug.yaml", "runs/debug")            # doctest: +SKIP
    >>> volume = medgan.read_volume("case_07.nii.gz")                       # doctest: +SKIP
    >>> labels = medgan.Predictor(model).predict(volume)                    # doctest: +SKIP
    >>> medgan.write_volume(labels, "case_07_labels.nii.gz")                # doctest: +SKIP
    >>> medgan.evaluate("references", "predictions", "evaluation")          # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "Config": "medgan.config",
    "LabelMap": "medgan.labels",
    "MedganError": "medgan.errors",
    "Predictor": "medgan.inference.predictor",
    "Volume": "medgan.volume.volume",
    "compare": "medgan.pipeline",
    "evaluate": "medgan.pipeline",
    "load_config": "medgan.config",
    "predict": "medgan.pipeline",
    "read_label": "medgan.volume.readers",
    "read_volume": "medgan.volume.readers",
    "train": "medgan.pipeline",
    "write_volume": "medgan.volume.writers",
}

if TYPE_CHECKING:
    from medgan.config import Config, load_config
    from medgan.errors import MedganError
    from medgan.inference.predictor import Predictor
    from medgan.labels import LabelMap
    from medgan.pipeline import compare, evaluate, predict, train
    from medgan.volume.readers import read_label, read_volume
    from medgan.volume.volume import Volume
    from medgan.volume.writers import write_volume

__all__ = [
    "Config",
    "LabelMap",
    "MedganError",
    "Predictor",
    "Volume",
    "compare",
    "evaluate",
    "load_config",
    "predict",
    "read_label",
    "read_volume",
    "train",
    "write_volume",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'medgan' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
