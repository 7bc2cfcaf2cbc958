"""A reference and its prediction, read onto one grid."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.evaluation.layers import Side, in_layers, layers_of, shared_voxels
from medgan.labels import LabelMap
from medgan.manifest.pairs import Pair
from medgan.preprocessing.resample import resample_label_to
from medgan.volume.checks import MAX_VOXELS
from medgan.volume.readers import names_segments, read_label, read_label_or_segments, read_volume
from medgan.volume.regrid import turn_between
from medgan.volume.segments import Segments
from medgan.volume.volume import Volume, describe_difference, same_grid

_MOST_TOLD = 3  # pairs of organs that overlap


@dataclass(frozen=True, eq=False)
class CaseVolumes:
    """The labels of a case, on one grid.

    Attributes:
        reference: label values (1, I, J, K); where named organs overlap, the later in the file covers the earlier.
        prediction: likewise.
        region: mask (1, I, J, K) of what counts; None where all of it does.
        is_resampled: the prediction or the region was brought here from a grid of its own.
        layers: what is to be scored, as label map, reference and prediction each, which together have every organ and
            group once; where no organs overlap, all in one. To be gone through once: they are made on the way.
    """

    reference: Volume
    prediction: Volume
    region: Volume | None
    is_resampled: bool
    layers: Iterable[tuple[LabelMap, Volume, Volume]]


def read_pair(pair: Pair, labels: LabelMap, *, image: Volume | None, resample: bool = False) -> CaseVolumes:
    """Return the labels of reference and prediction, and the region, on one grid.

    That is the image's, failing that the one of the file that is a plain volume, if it takes no resampling. Two files
    that name their segments, without an image, may each be cropped to what they mark (a DICOM SEG leaves empty frames
    out), so they are put on the grid that holds both.

    Args:
        pair: what to read.
        labels: the organs.
        image: the image of the case, if it is known and wanted; see `image_for_grid`.
        resample: bring a prediction or region from another grid onto the reference's, each voxel taking the nearest.

    Raises:
        MedganError: if a file cannot be read, or lies on another grid and is not to be resampled.
    """
    sides = _sides_of(pair, labels, image)
    reference, prediction = (side.painted() if isinstance(side, Segments) else side for side in sides)
    shared = [shared_voxels(sides[0], reference), shared_voxels(sides[1], prediction)]
    if image is None and all(isinstance(side, Segments) for side in sides):
        reference, prediction = on_common_grid(reference, prediction)
    elif image is not None and pair.resample_reference:
        reference = resample_label_to(reference, image, where="reference")
    placed = _on_grid_of(reference, prediction, resample=resample, what="prediction")
    region = found = None
    if pair.region is not None:
        found = _cut_to(reference, read_label(pair.region, reference=reference))
        region = _on_grid_of(reference, found, resample=resample, what="region")
    layers: Iterable[tuple[LabelMap, Volume, Volume]] = [(labels, reference, placed)]
    if any(shared):
        _check_and_tell(pair, sides, shared, labels)
        layers = in_layers(sides, layers_of(labels, [*shared[0], *shared[1]]), grid=reference)
    is_resampled = placed is not prediction or region is not found
    return CaseVolumes(reference, placed, region, is_resampled, layers)


def image_for_grid(pair: Pair) -> Volume | None:
    """Return the image of a pair where comparing needs its grid: for named segments, or a reference to be resampled.

    Raises:
        MedganError: if it cannot be read.
    """
    if pair.image is None:
        return None
    if not (pair.resample_reference or names_segments(pair.reference) or names_segments(pair.prediction)):
        return None
    return read_volume(pair.image, series=pair.series or None)


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


def _sides_of(pair: Pair, labels: LabelMap, image: Volume | None) -> tuple[Side, Side]:
    """Return reference and prediction as they are, on one grid if that takes no resampling of the prediction."""
    if image is None and names_segments(pair.reference):
        if names_segments(pair.prediction):
            return _read(pair.reference, labels, None), _read(pair.prediction, labels, None)
        prediction = _read(pair.prediction, labels, None)
        return _read(pair.reference, labels, _grid_of(prediction)), prediction
    if image is not None and pair.resample_reference:
        return _read(pair.reference, labels, None), _read(pair.prediction, labels, image)
    reference = _read(pair.reference, labels, image)
    return reference, _read(pair.prediction, labels, _grid_of(reference))


def _read(path: Path, labels: LabelMap, grid: Volume | None) -> Side:
    found = read_label_or_segments(path, reference=grid)
    return found.as_organs(labels, where=str(path)) if isinstance(found, Segments) else found


def _grid_of(side: Side) -> Volume:
    if isinstance(side, Volume):
        return side
    return Volume(np.broadcast_to(np.uint8(0), (1, *side.shape)), side.affine)


def _check_and_tell(
    pair: Pair, sides: Sequence[Side], shared: Sequence[Mapping[tuple[str, str], int]], labels: LabelMap
) -> None:
    """Tell which organs overlap, once the values of a side that is a label volume are known to be organs.

    In a layer, the values of all others count as background.
    """
    for path, side, found, what in zip(
        (pair.reference, pair.prediction), sides, shared, ("reference", "prediction"), strict=True
    ):
        if isinstance(side, Volume):
            labels.to_classes(side.data, where=what)
            warnings.warn(
                f"{path} has one organ a voxel, and is scored against masks that overlap: what one organ has there, "
                "another lacks.",
                stacklevel=3,
            )
        if found:
            pairs = [f"{one} and {other} in {n:,}" for (one, other), n in found.items()]
            more = f" (and {len(pairs) - _MOST_TOLD} more pairs)" if len(pairs) > _MOST_TOLD else ""
            warnings.warn(
                f"{path}: organs share voxels: {', '.join(pairs[:_MOST_TOLD])}{more}; each is scored by its whole "
                "mask, and pictures show the later one there.",
                stacklevel=3,
            )


def _on_grid_of(reference: Volume, other: Volume, *, resample: bool, what: str) -> Volume:
    """Return a label volume on the reference's grid: as it is, or resampled if it may be."""
    if same_grid(reference, other):
        return other
    if not resample:
        raise MedganError(
            f"reference and {what} must be on one grid, found {reference.describe_grid()} and "
            f"{other.describe_grid()}, which differ in {describe_difference(reference, other)}; use --resample (in "
            f"Python resample=True) to bring the {what} onto the reference's, or correct its geometry."
        )
    return resample_label_to(other, reference, where=what)


def _cut_to(reference: Volume, region: Volume) -> Volume:
    """Return the part of a larger mask that lies on the reference's grid.

    A reference of DICOM SEG holds only the planes that it marks, its region all of them. A mask that does not cover the
    reference, voxel upon voxel, is returned as it is.
    """
    turn = turn_between(region.affine, region.shape, reference.affine)
    if turn is None:
        return region
    laid, start = turn.lay(region.data[0]), turn.start((0, 0, 0), region.shape)
    if (start > 0).any() or (start + laid.shape < reference.shape).any():
        return region
    box = tuple(slice(int(-at), int(n - at)) for at, n in zip(start, reference.shape, strict=True))
    return Volume(laid[box][None], reference.affine)


def _padded(data: np.ndarray, start: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a box of labels in a larger one that is 0 elsewhere."""
    padded = np.zeros(shape, data.dtype)
    padded[tuple(slice(at, at + n) for at, n in zip(start, data.shape, strict=True))] = data
    return padded
