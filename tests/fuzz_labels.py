"""The judges of DICOM SEG and RTSTRUCT for `fuzz.py`: each builds the label volume anew from pydicom's elements."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from fuzz_dicom import dicom_parts
from fuzz_objects import LABEL_MAP_STORAGE, crossings_are_odd
from fuzz_parts import TO_RAS, UnreadableError, difference
from pydicom.dataset import Dataset
from pydicom.uid import UID, SegmentationStorage

from medgan.volume.volume import Volume

_SEGMENTATIONS = (SegmentationStorage, LABEL_MAP_STORAGE)
_NEAR_EDGE_VOXELS = 1e-6


def judge_segmentation(path: Path, volume: Volume, truth: Volume, said: str) -> str:
    """Return how a label volume differs from the frames of a SEG object; later segments lie over earlier ones."""
    dataset = _dataset(path)
    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if UID(kind) not in _SEGMENTATIONS:
        return difference(volume, dicom_parts(path, said), said)  # damaged so that it is no SEG any more
    expected = np.zeros(volume.shape, np.int64)
    try:
        frames, groups = _frames(dataset), dataset.PerFrameFunctionalGroupsSequence
        if len(frames) != len(groups):
            raise UnreadableError(f"it has {len(frames)} frames, and {len(groups)} functional groups")
        by_number: dict[int, list[tuple[Dataset, np.ndarray]]] = {}
        for plane, group in zip(frames, groups, strict=True):
            for number, mask in _masks(dataset, plane, group):
                by_number.setdefault(number, []).append((group, mask))
        order = [int(segment.SegmentNumber) for segment in dataset.SegmentSequence]
        if unknown := set(by_number) - set(order):
            raise UnreadableError(f"nothing describes its segments {sorted(unknown)}")
        for number in order:
            for group, mask in by_number.get(number, []):
                index = _voxels(_points(dataset, group, mask), volume)
                expected[tuple(index.T)] = number
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(f"it cannot be read ({type(error).__name__}: {error})") from error
    return _compared(volume, expected, np.zeros(volume.shape, bool))


def judge_structure_set(path: Path, volume: Volume, truth: Volume, said: str) -> str:
    """Return how a label volume differs from the contours of an RTSTRUCT, by the even-odd rule at voxel centres."""
    dataset = _dataset(path)
    if volume.shape != truth.shape or not np.allclose(volume.affine, truth.affine, atol=1e-3):
        return f"it lies on {volume.describe_grid()}, not on the image's {truth.describe_grid()}"
    if any(" overlap in " not in line for line in said.splitlines()):
        return ""  # contours were left out or moved, or ROIs numbered anew, and that was said
    expected, on_edge = np.zeros(volume.shape, np.int64), np.zeros(volume.shape, bool)
    try:
        described = {int(roi.ROINumber): roi for roi in dataset.StructureSetROISequence}
        contours = {int(roi.ReferencedROINumber): roi.get("ContourSequence", []) for roi in dataset.ROIContourSequence}
        for number in described:
            inside = np.zeros(volume.shape, bool)
            for contour in contours.get(number) or []:
                if contour.ContourGeometricType.upper() != "CLOSED_PLANAR":
                    raise UnreadableError(f"a contour is {contour.ContourGeometricType}")
                _fill(contour, volume, inside, on_edge)
            expected[inside] = number
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(f"it cannot be read ({type(error).__name__}: {error})") from error
    return _compared(volume, expected, on_edge)


def _dataset(path: Path) -> Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(path, force=True)
    except Exception as error:
        raise UnreadableError(f"pydicom refuses it ({error})") from error


def _compared(volume: Volume, expected: np.ndarray, ignored: np.ndarray) -> str:
    wrong = (volume.data[0] != expected) & ~ignored
    if not wrong.any():
        return ""
    voxel = tuple(np.argwhere(wrong)[0].tolist())
    return f"{int(wrong.sum())} voxels differ: {volume.data[0][voxel]} at {voxel}, should be {expected[voxel]}"


def _frames(dataset: Dataset) -> list[np.ndarray]:
    rows, columns, num_frames = int(dataset.Rows), int(dataset.Columns), int(dataset.NumberOfFrames)
    bits, count = int(dataset.BitsAllocated), rows * columns * num_frames
    num_bytes = -(-count * bits // 8)
    if not num_bytes <= len(dataset.PixelData) <= num_bytes + 1:
        raise UnreadableError(f"{num_bytes} bytes of pixels expected, {len(dataset.PixelData)} there")
    raw = np.frombuffer(dataset.PixelData[:num_bytes], "<u2" if bits == 16 else np.uint8)
    values = np.unpackbits(raw, bitorder="little")[:count] if bits == 1 else raw
    return list(values.reshape(num_frames, rows, columns))


def _masks(dataset: Dataset, plane: np.ndarray, group: Dataset) -> list[tuple[int, np.ndarray]]:
    if dataset.SegmentationType == "LABELMAP":
        return [(int(value), plane == value) for value in np.unique(plane) if value]
    number = int(_found(dataset, group, "SegmentIdentificationSequence").ReferencedSegmentNumber)
    half = int(dataset.MaximumFractionalValue) / 2 if dataset.SegmentationType == "FRACTIONAL" else 0.5
    return [(number, plane >= half)]


def _found(dataset: Dataset, group: Dataset, name: str) -> Dataset:
    """Return the first item of a functional group: the frame's own, or the shared one."""
    source = group if name in group else dataset.SharedFunctionalGroupsSequence[0]
    return source[name].value[0]


def _points(dataset: Dataset, group: Dataset, mask: np.ndarray) -> np.ndarray:
    """Return the points in RAS+ mm of the marked pixels of a frame."""
    position = np.array(_found(dataset, group, "PlanePositionSequence").ImagePositionPatient, float)
    orientation = np.array(_found(dataset, group, "PlaneOrientationSequence").ImageOrientationPatient, float)
    spacing = np.array(_found(dataset, group, "PixelMeasuresSequence").PixelSpacing, float)
    rows, columns = np.nonzero(mask)
    steps = np.outer(columns * spacing[1], orientation[:3]) + np.outer(rows * spacing[0], orientation[3:])
    return (position + steps) * TO_RAS


def _voxels(points: np.ndarray, volume: Volume) -> np.ndarray:
    inverse = np.linalg.inv(volume.affine)
    exact = points @ inverse[:3, :3].T + inverse[:3, 3]
    index = np.rint(exact).astype(np.int64)
    off_mm = np.linalg.norm((exact - index) @ volume.affine[:3, :3].T, axis=1)
    if off_mm.size and off_mm.max() > max(0.051, 0.021 * max(volume.spacing_mm)):
        raise UnreadableError("its frames do not lie on the grid")
    if ((index < 0) | (index >= volume.shape)).any():
        raise UnreadableError("its frames do not lie within the grid")
    return index


def _fill(contour: Dataset, volume: Volume, inside: np.ndarray, on_edge: np.ndarray) -> None:
    points = np.array([float(x) for x in contour.ContourData]).reshape(-1, 3) * TO_RAS
    if not np.isfinite(points).all():
        raise UnreadableError("a contour is not finite")
    inverse = np.linalg.inv(volume.affine)
    vertices = points @ inverse[:3, :3].T + inverse[:3, 3]
    k = int(np.rint(vertices[:, 2].mean()))
    if np.ptp(vertices[:, 2]) > 0.11:
        raise UnreadableError("a contour is not parallel to the slices")
    if not 0 <= k < volume.shape[2] or abs(vertices[:, 2].mean() - k) > 0.021:
        raise UnreadableError("a contour lies off the slices, and nothing says so")
    columns, rows = np.indices(volume.shape[:2])
    polygon = vertices[:, :2]
    inside[:, :, k] ^= crossings_are_odd(polygon, columns, rows)
    for start, stop in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        along = stop - start
        length = float(along @ along) or 1.0
        share = np.clip(((columns - start[0]) * along[0] + (rows - start[1]) * along[1]) / length, 0, 1)
        away = np.hypot(columns - start[0] - share * along[0], rows - start[1] - share * along[1])
        on_edge[:, :, k] |= away < _NEAR_EDGE_VOXELS


LABEL_JUDGES: dict[str, Callable[[Path, Volume, Volume, str], str]] = {
    "seg": judge_segmentation,
    "rtstruct": judge_structure_set,
}
