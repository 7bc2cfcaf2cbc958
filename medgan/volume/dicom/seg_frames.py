"""Where the frames of a DICOM SEG lie: its functional groups, a grid of its own, and a given grid's voxels.

Frames are stored in any order, and those that mark nothing may be left out, so that only the positions of the frames
that are there say where the planes of the grid can be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset

from medgan.errors import MedganError
from medgan.volume.affine import lps_to_ras, spacing_of
from medgan.volume.dicom.files import DicomFile
from medgan.volume.volume import describe_grid

_TOLERANCE_MM = 0.05
_TOLERANCE_OF_STEP = 0.02
_LEAST_TOLERANCE_OF_STEP = 0.1  # below half a millimetre 0.05 mm would let any step pass
_MAX_COSINE_ERROR = 1e-4
_SAME_PLANE_MM = 1e-2
_MAX_MM = 1e5  # what lies further from the origin is in no scanner
_MOST_ITEMS = 150_000  # of all frames; more of them need a file to match, as honest ones have pixels too
_BYTES_PER_ITEM = 1000
_MAX_DIVISOR = 12  # how many planes may lie between two frames for their common step to be found


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of one object, in the order they are stored, in DICOM's LPS millimetres.

    Attributes:
        name: what messages call the object.
        size: columns and rows.
        axes: (3, 2) unit vectors along which columns and rows count up.
        spacing_mm: (2,), between columns and between rows.
        positions: (N, 3), the first pixel of each frame.
        step_mm: the distance between planes that the object declares (SpacingBetweenSlices), NaN if it does not.
        thickness_mm: its SliceThickness, NaN if it gives none.
        segments: (N,) the segment number of each frame, 0 where frames hold segment numbers as values.
    """

    name: str
    size: tuple[int, int]
    axes: np.ndarray
    spacing_mm: np.ndarray
    positions: np.ndarray
    step_mm: float
    thickness_mm: float
    segments: np.ndarray


@dataclass(frozen=True, eq=False)
class Placement:
    """How the pixels of frames become voxels of a grid.

    Attributes:
        turn: (3, 2) of 0, 1 and -1: how the voxel index changes from column to column and from row to row.
        starts: (N, 3) the voxel of each frame's first pixel.
    """

    turn: np.ndarray
    starts: np.ndarray

    def block(self, frame: int, rows: slice, columns: slice, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where a part of a frame begins in the grid, (3,), and its mask with the grid's axes (I, J, K)."""
        corners = np.array([[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]])
        first = (self.starts[frame] + corners @ self.turn.T).min(axis=0)
        along_columns, along_rows = (int(axis) for axis in np.abs(self.turn).argmax(axis=0))
        across = 3 - along_columns - along_rows
        laid = np.moveaxis(mask.T[:, :, None], (0, 1, 2), (along_columns, along_rows, across))
        flips = tuple(slice(None, None, -1 if sign < 0 else 1) for sign in self.turn.sum(axis=1))
        return first, laid[flips]


def read_frames(file: DicomFile, *, is_label_map: bool) -> Frames:
    """Return where the frames of a segmentation object lie.

    Raises:
        MedganError: if the functional groups are incomplete or damaged, or frames differ in orientation or spacing.
    """
    most = max(_MOST_ITEMS, file.path.stat().st_size // _BYTES_PER_ITEM)
    items = file.items("PerFrameFunctionalGroupsSequence", max_items=most)
    num_frames = file.integer("NumberOfFrames", default=1)
    if not items or len(items) != num_frames:
        raise MedganError(
            f"{file.name} must describe each of its {num_frames} frames, found {len(items)} items in "
            "PerFrameFunctionalGroupsSequence; export it again."
        )
    shared = next(iter(file.items("SharedFunctionalGroupsSequence")), replace(file, header=Dataset()))
    groups = _Groups(items, shared)
    spacing = groups.numbers("PixelMeasuresSequence", "PixelSpacing", 2)[:, ::-1]
    orientation = groups.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    _check_alike(file, "PixelSpacing", spacing)
    _check_alike(file, "ImageOrientationPatient", orientation)
    positions = groups.numbers("PlanePositionSequence", "ImagePositionPatient", 3)
    if np.abs(positions).max() > _MAX_MM:
        raise MedganError(
            f"{file.name} must lie in a scanner, but ImagePositionPatient reaches {np.abs(positions).max():.3g} mm; "
            "export it again."
        )
    axes = orientation[0].reshape(2, 3).T
    if np.abs(axes.T @ axes - np.eye(2)).max() > 10 * _MAX_COSINE_ERROR or spacing.min() <= 0:
        raise MedganError(
            f"{file.name} must have two perpendicular unit vectors in ImageOrientationPatient and a PixelSpacing above "
            f"zero, found {axes.T.tolist()} and {spacing[0].tolist()}."
        )
    return Frames(
        file.name,
        (file.integer("Columns"), file.integer("Rows")),
        axes / np.linalg.norm(axes, axis=0),
        spacing[0],
        positions,
        groups.first("PixelMeasuresSequence", "SpacingBetweenSlices"),
        groups.first("PixelMeasuresSequence", "SliceThickness"),
        np.zeros(num_frames, int) if is_label_map else groups.segments(),
    )


def own_grid(frames: Frames) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return the RAS+ affine and the size of the smallest regular grid that the planes of all frames belong to.

    i runs along the columns, j along the rows, k along their normal. The step along k is the declared one where all
    positions are multiples of it, else the smallest common step of the positions. Positions that move sideways from
    plane to plane give a sheared grid, as a tilted gantry does.

    Raises:
        MedganError: if there is no such step, or the frames do not lie in one line.
    """
    normal = np.cross(frames.axes[:, 0], frames.axes[:, 1])
    ordered = frames.positions[np.argsort(frames.positions @ normal, kind="stable")]
    is_new = np.diff(ordered @ normal, prepend=-np.inf) > _SAME_PLANE_MM
    planes = ordered[is_new]
    numbers, step = _planes_of(frames, planes, normal)
    off_mm = np.linalg.norm(ordered - planes[0] - np.outer(numbers[np.cumsum(is_new) - 1], step), axis=1).max()
    if off_mm > _tolerance_mm(float(np.linalg.norm(step))):
        raise MedganError(
            f"{frames.name} must have its frames in one line, but one lies {off_mm:.3g} mm off it; give the image "
            "it was made from."
        )
    affine = np.eye(4)
    affine[:3, :2] = frames.axes * frames.spacing_mm
    affine[:3, 2], affine[:3, 3] = step, planes[0]
    return lps_to_ras(affine), (*frames.size, int(numbers[-1]) + 1)


def place(frames: Frames, affine: np.ndarray, shape: tuple[int, int, int]) -> Placement:
    """Return how the frames lie on a grid, whose axes may be those of the frames in any order and direction.

    Args:
        frames: of any object.
        affine: (4, 4) RAS+ of the grid.
        shape: the grid size, for the message.

    Raises:
        MedganError: if a corner of a frame is more than 0.05 mm, or 2 % of the voxel spacing, off the grid's voxels.
    """
    grid = lps_to_ras(affine)
    to_index = np.linalg.inv(grid)
    steps = to_index[:3, :3] @ (frames.axes * frames.spacing_mm)
    starts = frames.positions @ to_index[:3, :3].T + to_index[:3, 3]
    turn, nearest = np.rint(steps), np.rint(starts)
    last = np.array(frames.size) - 1
    corners = np.array([[0, 0], [last[0], 0], [0, last[1]], last])
    off = (starts - nearest)[:, None] + (corners @ (steps - turn).T)[None]
    off_mm = np.linalg.norm(off @ grid[:3, :3].T, axis=2).max()
    is_turn = (np.abs(turn).sum(axis=0) == 1).all() and np.abs(turn).sum(axis=1).max() == 1
    if not is_turn or off_mm > max(_TOLERANCE_MM, _TOLERANCE_OF_STEP * min(spacing_of(affine))):
        off = f"are up to {off_mm:.3g} mm off" if is_turn else "have other axes or another spacing"
        raise MedganError(
            f"{frames.name} must lie on the voxels of the image, but its frames of {frames.size[0]}x{frames.size[1]} "
            f"pixels of ({_numbers(frames.spacing_mm)}) mm {off}, the image being {describe_grid(shape, affine)}; "
            "give the image it was made from."
        )
    return Placement(turn.astype(int), nearest.astype(int))


class _Groups:
    """The functional groups of all frames: what a frame does not say itself, the shared groups say."""

    def __init__(self, frames: Sequence[DicomFile], shared: DicomFile) -> None:
        self._frames, self._shared = frames, shared

    def numbers(self, sequence: str, keyword: str, count: int) -> np.ndarray:
        """Return (N, count) numbers, one row for each frame."""
        shared: np.ndarray | None = None
        rows = []
        for frame in self._frames:
            own = frame.items(sequence)
            if not own and shared is None:
                shared = self._of_all(sequence).numbers(keyword, count)
            rows.append(own[0].numbers(keyword, count) if own else shared)
        return np.array(rows, dtype=np.float64)

    def segments(self) -> np.ndarray:
        """Return the (N,) segment numbers."""
        return self.numbers("SegmentIdentificationSequence", "ReferencedSegmentNumber", 1)[:, 0].astype(int)

    def first(self, sequence: str, keyword: str) -> float:
        """Return a number of the first frame, NaN if it is absent."""
        own = self._frames[0].items(sequence)
        group = own[0] if own else self._of_all(sequence)
        return float(group.numbers(keyword, 1)[0]) if group.text(keyword) else float("nan")

    def _of_all(self, sequence: str) -> DicomFile:
        items = self._shared.items(sequence)
        if not items:
            raise MedganError(
                f"{self._shared.name} has no {sequence}, and without it nobody knows where its frames lie; "
                "export it again."
            )
        return items[0]


def _check_alike(file: DicomFile, keyword: str, values: np.ndarray) -> None:
    odd = np.flatnonzero(np.abs(values - values[0]).max(axis=1) > _MAX_COSINE_ERROR)
    if odd.size:
        raise MedganError(
            f"{file.name} must have one {keyword} for all its frames, found ({_numbers(values[0])}) in frame 1 and "
            f"({_numbers(values[odd[0]])}) in frame {odd[0] + 1}; export its stacks one by one."
        )


def _planes_of(frames: Frames, planes: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each plane, from 0, and the (3,) step from number to number."""
    if len(planes) == 1:
        thickness = frames.step_mm if frames.step_mm > 0 else frames.thickness_mm
        if not thickness > 0:
            raise MedganError(f"{frames.name} has one plane and no SpacingBetweenSlices, so its thickness is unknown.")
        return np.zeros(1, int), normal * thickness
    steps = np.diff(planes @ normal)
    common = [float(steps.min()) / divisor for divisor in range(1, _MAX_DIVISOR + 1)]
    for step in ([frames.step_mm] if frames.step_mm > _SAME_PLANE_MM else []) + common:
        multiples = np.rint(steps / step)
        if multiples.min() >= 1 and np.abs(steps - multiples * step).max() <= _tolerance_mm(step):
            numbers = np.concatenate([[0], np.cumsum(multiples)]).astype(int)
            return numbers, (planes[-1] - planes[0]) / numbers[-1]
    raise MedganError(
        f"{frames.name} must have its planes at multiples of one step, found distances of {steps.min():.5g} to "
        f"{steps.max():.5g} mm; give the image it was made from."
    )


def _tolerance_mm(step_mm: float) -> float:
    return min(max(_TOLERANCE_MM, _TOLERANCE_OF_STEP * step_mm), _LEAST_TOLERANCE_OF_STEP * step_mm)


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in values)
