"""Named masks on one grid, which may overlap, as DICOM SEG, RTSTRUCT, .seg.nrrd and folders of masks hold them.

A label volume has one value a voxel, so a name must become a value and overlaps must be settled: `Segments.to_label`.
Names in files are free text, in which people write anything, so messages give numbers and the names of organs.
"""

import itertools
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from medgan.errors import MedganError
from medgan.labels import CodedTerm, LabelMap
from medgan.volume.volume import Volume

Box = tuple[slice, slice, slice]
"""A part of a grid, by slices of its axes."""

_BYTES_PER_VOXEL = 4
_LARGEST_TABLE = 65535  # values beyond are renumbered before they index a table


@dataclass(frozen=True, eq=False)
class Segment:
    """One named mask, kept within its bounding box.

    Attributes:
        number: what the file calls it: segment number, ROI number, label value. From 1.
        name: segment label, ROI name, or file name.
        start: the voxel (i, j, k) of the grid where `mask` begins.
        mask: bool, the bounding box of the marked voxels; shape (0, 0, 0) if there are none.
        color: red, green, blue, 0 to 255, if the file gives one.
        code: the coded term, if the file gives one.
    """

    number: int
    name: str
    start: tuple[int, int, int]
    mask: np.ndarray
    color: tuple[int, int, int] | None = None
    code: CodedTerm | None = None

    @classmethod
    def from_mask(
        cls,
        number: int,
        name: str,
        mask: np.ndarray,
        *,
        color: tuple[int, int, int] | None = None,
        code: CodedTerm | None = None,
    ) -> "Segment":
        """Build a segment from a bool mask of the whole grid, (I, J, K)."""
        box = _bounding_box(mask)
        i, j, k = (each.start for each in box)
        return cls(number, name, (i, j, k), np.ascontiguousarray(mask[box]), color, code)

    @property
    def num_voxels(self) -> int:
        """How many voxels are marked."""
        return int(np.count_nonzero(self.mask))

    @property
    def box(self) -> Box:
        """Where `mask` lies in the grid."""
        i, j, k = (slice(start, start + size) for start, size in zip(self.start, self.mask.shape, strict=True))
        return i, j, k

    def num_shared(self, other: "Segment") -> int:
        """Return how many voxels are marked in both of two segments of one grid."""
        low = np.maximum(self.start, other.start)
        high = np.minimum(np.add(self.start, self.mask.shape), np.add(other.start, other.mask.shape))
        if not (low < high).all():
            return 0
        parts = (
            each.mask[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, each.start, strict=True))]
            for each in (self, other)
        )
        return int(np.count_nonzero(np.logical_and(*parts)))


@dataclass(frozen=True, eq=False)
class Segments:
    """Named masks on one grid.

    Attributes:
        segments: in the order of the file; two may mark the same voxel.
        shape: the grid size (I, J, K).
        affine: (4, 4) float64, RAS+ mm, as in `Volume`.
    """

    segments: tuple[Segment, ...]
    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the file."""
        return tuple(segment.name for segment in self.segments)

    def to_label(self, labels: LabelMap | None, *, where: str) -> Volume:
        """Return one label volume, axes (1, I, J, K), in the smallest unsigned type that holds its values.

        Where segments overlap, the later one in the file wins, with a warning that names the pair and the number of
        voxels; segments of one organ are joined.

        Args:
            labels: the organs to take and their values; a segment belongs to an organ by name, synonym or coded term
                (`LabelMap.find`), and one that belongs to none is left out. None takes every segment, with its number
                as the value.
            where: names the file in messages.

        Raises:
            MedganError: if `labels` are given and no segment belongs to any of their organs, or one may be two of them.
        """
        found = self if labels is None else self.as_organs(labels, where=where)
        names = {s.number: f"segment {s.number}" if labels is None else s.name for s in found.segments}

        def tell(segment: Segment, covered: np.ndarray) -> None:
            for lost, num_voxels in zip(*np.unique(covered[covered > 0], return_counts=True), strict=True):
                if lost != segment.number:
                    warnings.warn(
                        f"{where}: {names[lost]} and {names[segment.number]} overlap in {num_voxels:,} voxels; the "
                        f"label volume says {names[segment.number]} there.",
                        stacklevel=4,
                    )

        return found.painted(on_segment=tell)

    def painted(self, *, on_segment: Callable[[Segment, np.ndarray], None] | None = None) -> Volume:
        """Return one label volume of the numbers, as `to_label` does, where the later segment covers the earlier.

        Args:
            on_segment: called before a segment is painted, with the values that its voxels have so far.
        """
        label = np.zeros(self.shape, np.min_scalar_type(max((s.number for s in self.segments), default=0)))
        for segment in self.segments:
            part = label[segment.box]
            if on_segment is not None:
                on_segment(segment, part[segment.mask])
            part[segment.mask] = segment.number
        return Volume(label[None], self.affine)

    def as_organs(self, labels: LabelMap, *, where: str) -> "Segments":
        """Return the segments that belong to organs, with the organs' names and values as theirs; see `to_label`.

        Raises:
            MedganError: if there is none, or one may be two organs.
        """
        chosen = []
        for segment in self.segments:
            try:
                organ = labels.find(segment.name, code=segment.code)
            except MedganError as error:
                raise MedganError(f"{where}: segment {segment.number}: {error}") from error
            if organ is not None:
                chosen.append(replace(segment, number=organ.value, name=organ.name))
        if not chosen:
            raise MedganError(
                f"{where}: none of its {len(self.segments)} segments is an organ of the label map "
                f"({', '.join(labels.names)}); look at their names with medgan inspect, and add those you want to the "
                "labels file as synonyms."
            )
        return Segments(tuple(chosen), self.shape, self.affine)

    def shared_voxels(self) -> dict[tuple[str, str], int]:
        """Return how many voxels any two segments of different numbers share, by their names; only those that do."""
        shared: dict[tuple[str, str], int] = {}
        for first, second in itertools.combinations(self.segments, 2):
            if first.number != second.number and (num_voxels := first.num_shared(second)):
                names = first.name, second.name
                names = names[::-1] if names[::-1] in shared else names
                shared[names] = shared.get(names, 0) + num_voxels
        return shared


def gathered(segments: Iterable[Segment], *, max_voxels: int, where: str) -> tuple[Segment, ...]:
    """Return segments as a tuple, while together they take no more than a float32 volume of `max_voxels` would.

    Args:
        segments: made one by one.
        max_voxels: as in `read_volume`.
        where: names the file in the message.

    Raises:
        MedganError: as soon as they take more.
    """
    taken: list[Segment] = []
    num_bytes = 0
    for segment in segments:
        taken.append(segment)
        num_bytes += segment.mask.nbytes
        if num_bytes > _BYTES_PER_VOXEL * max_voxels:
            raise MedganError(
                f"{where} is too large: of its segments, {len(taken)} take {num_bytes:,} bytes with what lies "
                "between their voxels; read it with a larger max_voxels, or split it."
            )
    return tuple(taken)


def boxes_of(values: np.ndarray) -> dict[int, Box]:
    """Return the bounding box of each value above 0 in an (I, J, K) array of whole numbers, none below 0."""
    from scipy import ndimage  # noqa: PLC0415 - takes a while to load

    found: Iterable[int] = itertools.count(1)
    if values.max(initial=0) > _LARGEST_TABLE:  # find_objects keeps a table of all values up to the largest
        known = np.unique(values[values > 0])
        found, values = known.tolist(), np.searchsorted(known, values, side="right")
    order = sorted(range(3), key=lambda axis: -abs(values.strides[axis]))  # as they lie in memory, which is faster
    boxes = ndimage.find_objects(values.transpose(order))
    back = [order.index(axis) for axis in range(3)]
    return {value: (box[back[0]], box[back[1]], box[back[2]]) for value, box in zip(found, boxes, strict=False) if box}


def _bounding_box(mask: np.ndarray) -> Box:
    """Return the smallest box of an (I, J, K) mask that holds all it marks, empty at the origin if it marks nothing."""
    box = []
    for axis in range(3):
        marked = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(marked[0]), int(marked[-1]) + 1) if marked.size else slice(0, 0))
    return box[0], box[1], box[2]
