"""Cleaning labels up by connected components."""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.volume.volume import Volume


def keep_largest_components(volume: Volume, organs: Iterable[str], labels: LabelMap) -> Volume:
    """Return a label volume in which each of `organs` keeps only its largest face-connected component.

    Args:
        volume: label volume (1, I, J, K) of values.
        organs: names in `labels`; other organs stay as they are.
        labels: the organs' values.

    Raises:
        MedganError: if a name is not in `labels`.
    """
    organs = list(organs)
    check_organs(organs, labels)
    data = volume.data.copy()
    values = dict(zip(labels.names, labels.values, strict=True))
    for organ in organs:
        _keep_largest(data[0], values[organ])
    return Volume(data, volume.affine)


def check_organs(organs: Iterable[str], labels: LabelMap) -> None:
    """Raise `MedganError` unless each of `organs`, as `outputs.largest_component` names them, is in `labels`."""
    for organ in organs:
        if organ not in labels.names:
            raise MedganError(
                f"outputs.largest_component: {organ!r} is not one of the organs; known are {', '.join(labels.names)}."
            )


def _keep_largest(data: np.ndarray, value: int) -> None:
    components, count = ndimage.label(data == value)
    if count > 1:
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        data[(components > 0) & (components != sizes.argmax())] = 0
