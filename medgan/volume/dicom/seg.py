"""DICOM SEG (segmentation objects) as named masks: binary, fractional and label map, of any maker.

The functional groups are read here and not by highdicom, whose volumes hold every segment for every voxel: a hundred
organs of a whole-body CT would not fit into memory. A mask is kept within its bounding box.
"""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.uid import UID, SegmentationStorage

from medgan.errors import MedganError
from medgan.labels import CodedTerm
from medgan.volume.checks import MAX_VOXELS, check_num_voxels, volume_at
from medgan.volume.dicom.decoder import Decoder
from medgan.volume.dicom.files import DicomFile, read_header
from medgan.volume.dicom.seg_frames import own_grid, place, read_frames
from medgan.volume.dicom.seg_pixels import SegPixels
from medgan.volume.segments import Segment, Segments
from medgan.volume.volume import Volume

_LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")


def is_seg(file: DicomFile) -> bool:
    """Return whether a DICOM file is a segmentation object."""
    return file.sop_class in (SegmentationStorage, _LABEL_MAP_STORAGE)


def read_seg(path: str | Path, *, reference: Volume | None = None, max_voxels: int = MAX_VOXELS) -> Segments:
    """Return the segments of a DICOM SEG object.

    A fractional segment marks the voxels whose fraction is at least one half. Planes without a frame are empty. The
    grid is the smallest regular one that holds the frames (`own_grid`), or that of `reference`.

    Args:
        path: the file.
        reference: the image it belongs to; its planes must coincide with the frames, nothing is resampled.
        max_voxels: the most voxels the grid may have, and the most the bounding boxes of all segments may have.

    Raises:
        MedganError: if the file is damaged or not a segmentation, its frames have no regular grid or do not lie on
            that of `reference`, or it holds more than `max_voxels`.

    Example:
        >>> segments = read_seg("seg.dcm")  # doctest: +SKIP
        >>> segments.names  # doctest: +SKIP
        ('Left lung', 'Right lung')
    """
    file = read_header(Path(path))
    if file is None or not is_seg(file):
        raise MedganError(f"{path} is not a DICOM SEG (segmentation) object; check what it is.")
    return read_segments_of(file, reference=reference, max_voxels=max_voxels)


def read_segments_of(file: DicomFile, *, reference: Volume | None, max_voxels: int) -> Segments:
    """Return the segments of a segmentation object whose header has been read; see `read_seg`."""
    kind = file.text("SegmentationType")
    if kind not in _KINDS or "ConcatenationUID" in file.header:
        found = "one part of a concatenation" if kind in _KINDS else "of another SegmentationType, or of none"
        raise MedganError(f"{file.name} must be a whole SEG of type {', '.join(_KINDS)}, but is {found}.")
    described = _described(file, is_label_map=kind == "LABELMAP")
    frames = read_frames(file, is_label_map=kind == "LABELMAP")
    unknown = sorted(set(frames.segments.tolist()) - {0, *described})
    if unknown:
        raise _unknown(file, unknown)
    affine, shape = own_grid(frames) if reference is None else (reference.affine, reference.shape)
    check_num_voxels(file.name, shape, max_voxels=max_voxels)
    affine = volume_at(file.name, np.zeros((1, 1, 1, 1)), affine).affine
    placement = place(frames, affine, shape)
    _check_once(file, frames.segments, placement.starts)
    parts = _Parts(file, shape, max_voxels)
    with Decoder() as decoder:
        pixels = SegPixels(file, decoder)
        for frame in range(len(frames.positions)):
            for number, rows, columns, mask in _marked(file, pixels.frame(frame), kind, int(frames.segments[frame])):
                if number not in described:
                    raise _unknown(file, [number])
                parts.add(number, *placement.block(frame, rows, columns, mask))
    return Segments(tuple(parts.join(segment) for segment in described.values()), shape, affine)


def _check_once(file: DicomFile, segments: np.ndarray, starts: np.ndarray) -> None:
    """Refuse a second frame of a segment at one place: of two points in time, or of two masks under one number."""
    _, first, counts = np.unique(np.column_stack([segments, starts]), axis=0, return_index=True, return_counts=True)
    if counts.max() > 1:
        raise MedganError(
            f"{file.name} must hold one frame of a segment at one position, but frame {first[counts > 1][0] + 1} has "
            f"{counts.max() - 1} more at its own; export its points in time, or its masks, one by one."
        )


class _Parts:
    """The marked parts of frames, gathered by segment; no more than `max_voxels` with all that lies between them."""

    def __init__(self, file: DicomFile, shape: tuple[int, int, int], max_voxels: int) -> None:
        self._name, self._shape, self._max_voxels = file.name, shape, max_voxels
        self._blocks: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._boxes: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._num_voxels = 0

    def add(self, number: int, first: np.ndarray, block: np.ndarray) -> None:
        """Take a mask of a segment that begins at voxel `first`."""
        if (first < 0).any() or (first + block.shape > self._shape).any():
            raise MedganError(
                f"{self._name} must lie on the image, but segment {number} marks voxels outside its "
                f"{'x'.join(map(str, self._shape))}; give the image it was made from."
            )
        low, high = self._boxes.get(number, (first, first))
        self._num_voxels -= int(np.prod(high - low))
        low, high = self._boxes[number] = np.minimum(low, first), np.maximum(high, first + block.shape)
        self._num_voxels += int(np.prod(high - low))
        if self._num_voxels > self._max_voxels:
            raise MedganError(
                f"{self._name} must mark at most {self._max_voxels:,} voxels with what lies between them, but "
                f"{len(self._boxes)} segments take more; if that is true, read it with a larger max_voxels."
            )
        self._blocks.setdefault(number, []).append((first, np.ascontiguousarray(block)))

    def join(self, segment: Segment) -> Segment:
        """Return a segment with the mask of all its parts, which are let go."""
        if segment.number not in self._blocks:
            return segment
        low, high = self._boxes[segment.number]
        mask = np.zeros(high - low, bool)
        for first, block in self._blocks.pop(segment.number):
            mask[tuple(slice(a, a + n) for a, n in zip(first - low, block.shape, strict=True))] |= block
        i, j, k = (int(n) for n in low)
        return replace(segment, start=(i, j, k), mask=mask)


def _marked(
    file: DicomFile, pixels: np.ndarray, kind: str, number: int
) -> Iterator[tuple[int, slice, slice, np.ndarray]]:
    """Yield, for each segment a frame marks, its number, the rows and columns it lies in, and its mask of these."""
    if kind == "LABELMAP":
        from scipy import ndimage  # noqa: PLC0415 - takes a while to load, and label maps are rare

        background = file.integer("PixelPaddingValue")
        for value, box in enumerate(ndimage.find_objects(pixels), start=1):
            if box is not None and value != background:
                yield value, *box, pixels[box] == value
        return
    if kind == "FRACTIONAL":
        mask = 2 * pixels.astype(np.int32) >= _largest_fraction(file)
    elif pixels.max() > 1:
        raise MedganError(f"{file.name} is damaged: a BINARY segmentation must hold 0 and 1, found {pixels.max()}.")
    else:
        mask = pixels.view(bool)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if rows.size:
        box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        yield number, *box, mask[box]


def _largest_fraction(file: DicomFile) -> int:
    largest = file.integer("MaximumFractionalValue")
    if largest < 1:
        raise MedganError(f"{file.name} is FRACTIONAL but has no MaximumFractionalValue above 0; export it again.")
    return largest


def _described(file: DicomFile, *, is_label_map: bool) -> dict[int, Segment]:
    """Return the segments by number, in the order of the file, as yet without voxels."""
    described: dict[int, Segment] = {}
    for segment in file.items("SegmentSequence"):
        number = segment.integer("SegmentNumber", default=-1)
        if number in described or number < (0 if is_label_map else 1):
            raise MedganError(f"{file.name} is damaged: each segment must have a SegmentNumber of its own.")
        nothing = np.zeros((0, 0, 0), bool)
        described[number] = Segment(
            number, segment.text("SegmentLabel").strip(), (0, 0, 0), nothing, _color_of(segment), _code_of(segment)
        )
    if is_label_map:  # which may describe its background too
        described.pop(file.integer("PixelPaddingValue"), None)
        described.pop(0, None)
    if not described:
        raise MedganError(f"{file.name} must describe at least one segment, found none; export it again.")
    return described


def _color_of(segment: DicomFile) -> tuple[int, int, int] | None:
    """Return the recommended colour, which is CIELab (D65) in 16 bits, as sRGB."""
    if "RecommendedDisplayCIELabValue" not in segment.header:
        return None
    lab = segment.numbers("RecommendedDisplayCIELabValue", 3) / 65535 * (100, 255, 255) - (0, 128, 128)
    from skimage.color import lab2rgb  # noqa: PLC0415 - takes a while to load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of colours no screen can show
        red, green, blue = np.rint(255 * lab2rgb(lab)).astype(int)
    return int(red), int(green), int(blue)


def _code_of(segment: DicomFile) -> CodedTerm | None:
    for code in segment.items("SegmentedPropertyTypeCodeSequence")[:1]:
        value = code.text("CodeValue") or code.text("LongCodeValue")
        return CodedTerm(code.text("CodingSchemeDesignator"), value, code.text("CodeMeaning"))
    return None


def _unknown(file: DicomFile, numbers: list[int]) -> MedganError:
    listed = ", ".join(str(number) for number in numbers[:8])
    return MedganError(
        f"{file.name} is damaged: it marks segments that it does not describe ({listed}); export it again."
    )
