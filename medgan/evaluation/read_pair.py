"""A reference and its prediction, read onto one grid."""

import math

import numpy as np

from medgan.labels import LabelMap
from medgan.manifest.inputs import Pair
from medgan.preprocessing.resample import resample_label_to
from medgan.volume.checks import MAX_VOXELS
from medgan.volume.readers import names_segments, read_label
from medgan.volume.regrid import turn_between
from medgan.volume.volume import Volume


def read_pair(pair: Pair, labels: LabelMap, *, image: Volume | None) -> tuple[Volume, Volume]:
    """Return the labels of the reference and of the prediction, which is empty if there is none.

    They are on one grid if that takes no resampling: that of the image, failing that of the file that is a plain
    volume. Two files that name their segments, without an image, may each be cropped to what they mark (a DICOM SEG
    leaves empty frames out), so they are put on the grid that holds both.

    Args:
        pair: what to read.
        labels: the organs.
        image: the image of the case, if there is one.

    Raises:
        MedganError: if a file cannot be read.
    """
    if image is not None and pair.resample_reference:
        reference = resample_label_to(read_label(pair.reference, labels=labels), image, where=f"case {pair.case_id}")
    elif image is None and pair.prediction and names_segments(pair.reference):
        if names_segments(pair.prediction):
            reference, prediction = (read_label(path, labels=labels) for path in (pair.reference, pair.prediction))
            return on_common_grid(reference, prediction)
        prediction = read_label(pair.prediction, labels=labels)
        return read_label(pair.reference, labels=labels, reference=prediction), prediction
    else:
        reference = read_label(pair.reference, labels=labels, reference=image)
    if pair.prediction:
        return reference, read_label(pair.prediction, labels=labels, reference=reference)
    return reference, Volume(np.zeros_like(reference.data), reference.affine)


def on_common_grid(a: Volume, b: Volume) -> tuple[Volume, Volume]:
    """Return two label volumes on the smallest grid that holds both, 0 where one does not reach.

    They are returned as they are if their voxels do not coincide, or lie too far apart for one grid.
    """
    turn = turn_between(b.affine, b.shape, a.affine)
    if turn is None:
        return a, b
    laid, start = turn.lay(b.data[0]), turn.start((0, 0, 0), b.shape)
    low = np.minimum(start, 0)
    shape = tuple(int(n) for n in np.maximum(a.shape, start + laid.shape) - low)
    if math.prod(shape) > MAX_VOXELS:
        return a, b
    affine = np.array(a.affine)
    affine[:3, 3] += affine[:3, :3] @ low
    padded = _padded(a.data[0], -low, shape), _padded(laid, start - low, shape)
    return Volume(padded[0][None], affine), Volume(padded[1][None], affine)


def _padded(data: np.ndarray, start: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a box of labels in a larger one that is 0 elsewhere."""
    padded = np.zeros(shape, data.dtype)
    padded[tuple(slice(at, at + n) for at, n in zip(start, data.shape, strict=True))] = data
    return padded
