"""Segments: named masks on one grid, which may overlap, as DICOM SEG, RTSTRUCT, .seg.nrrd and folders of masks hold them.

A label volume has one value a voxel, so a name must become a value and overlaps must be settled: `Segments.to_label`.
"""

import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np

from medgan.errors import MedganError
from medgan.labels import CodedTerm, LabelMap
from medgan.volume.volume import Volume


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
    def box(self) -> tuple[slice, slice, slice]:
        """Where `mask` lies in the grid."""
        i, j, k = (slice(start, start + size) for start, size in zip(self.start, self.mask.shape, strict=True))
        return i, j, k


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
            labels: the organs to take and their values; a segment belongs to an organ by coded term, name or synonym,
                and one that belongs to none is left out. None takes every segment, with its number as the value.
            where: names the file in messages.

        Raises:
            MedganError: if `labels` are given and no segment belongs to any of their organs.
        """
        chosen = self._chosen(labels, where=where)
        largest = max((value for value, _ in chosen), default=0)
        label = np.zeros(self.shape, np.min_scalar_type(largest))
        overlaps: Counter[tuple[int, int]] = Counter()
        for value, segment in chosen:
            part = label[segment.box]
            for lost, num_voxels in zip(*np.unique(part[segment.mask], return_counts=True), strict=True):
                if lost not in (0, value):
                    overlaps[int(lost), value] += int(num_voxels)
            part[segment.mask] = value
        self._warn(overlaps, {value: segment.name for value, segment in chosen}, where=where)
        return Volume(label[None], self.affine)

    def _chosen(self, labels: LabelMap | None, *, where: str) -> list[tuple[int, Segment]]:
        """Return each segment to take, with its label value."""
        if labels is None:
            return [(segment.number, segment) for segment in self.segments]
        chosen = [
            (organ.value, segment)
            for segment in self.segments
            if (organ := labels.find(segment.name, code=segment.code)) is not None
        ]
        if not chosen:
            raise MedganError(
                f"{where}: none of its segments ({', '.join(self.names) or 'there are none'}) is an organ of the label "
                f"map ({', '.join(labels.names)}); add the names it uses to the labels file as synonyms."
            )
        return chosen

    def _warn(self, overlaps: "Counter[tuple[int, int]]", names: dict[int, str], *, where: str) -> None:
        for (lost, kept), num_voxels in overlaps.items():
            warnings.warn(
                f"{where}: {num_voxels:,} voxels belong to both {names[lost]} and {names[kept]}; the label volume says "
                f"{names[kept]} there.",
                stacklevel=4,
            )


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the smallest box of an (I, J, K) mask that holds all it marks, empty at the origin if it marks nothing."""
    box = []
    for axis in range(3):
        marked = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(marked[0]), int(marked[-1]) + 1) if marked.size else slice(0, 0))
    return box[0], box[1], box[2]
