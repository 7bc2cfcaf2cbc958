"""DICOM SEG objects for the tests, built element by element, as many makers build them, faults included."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLSLossless, SegmentationStorage, generate_uid

from medgan.volume.affine import lps_to_ras
from medgan.volume.volume import Volume

LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
DEFLATED_FRAMES = UID("1.2.840.10008.1.2.8.1")
NAMES = {
    1: ("Lung_L", "44029006", "Left lung"),
    2: ("Lung_R", "3341006", "Right lung"),
    3: ("Heart", "80891009", "Heart"),
}


def write_seg(
    path: Path,
    label: Volume,
    *,
    kind: str = "BINARY",
    order: Callable[[list], list] = list,
    fraction: int = 200,
    bits: int | None = None,
    syntax: UID = ExplicitVRLittleEndian,
    edit: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write a label volume of the values 1 to 3 as a SEG without its empty frames, and return the path.

    Args:
        path: the file.
        label: values 1 to 3, all of which are described.
        kind: the SegmentationType.
        order: puts the frames, (segment number, k, pixels) each, into another order, or changes them.
        fraction: the value of marked pixels of a FRACTIONAL one, of 250.
        bits: BitsAllocated, 1 for BINARY and 8 for the others if None.
        syntax: the transfer syntax, a native one, RLE or the deflated frames of 2023.
        edit: changes the dataset before it is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    bits = bits or (1 if kind == "BINARY" else 8)
    frames = order(list(_frames_of(label.data[0], kind, fraction)))
    dataset = _header(label, kind, [(number, k) for number, k, _ in frames])
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.NumberOfFrames = bits - 1, len(frames)
    pixels = [stored.T.astype(f"<u{max(bits, 8) // 8}") for _, _, stored in frames]
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax == DEFLATED_FRAMES:
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.PixelData = encapsulate([_deflated(_packed([each], bits)) for each in pixels])
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = _packed(pixels, bits)
        dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
    if edit:
        edit(dataset)
    dataset.save_as(path, enforce_file_format=True)
    if syntax == DEFLATED_FRAMES:  # pydicom 3 does not know it, so another was written in its place
        path.write_bytes(path.read_bytes().replace(JPEGLSLossless.encode(), DEFLATED_FRAMES.encode() + b"\0"))
    return path


def _frames_of(label: np.ndarray, kind: str, fraction: int) -> list[tuple[int, int, np.ndarray]]:
    planes = [k for k in range(label.shape[2]) if label[:, :, k].any()]
    if kind == "LABELMAP":
        return [(0, k, label[:, :, k]) for k in planes]
    mark = fraction if kind == "FRACTIONAL" else 1
    return [(n, k, mark * (label[:, :, k] == n)) for n in NAMES for k in planes if (label[:, :, k] == n).any()]


def _packed(pixels: Sequence[np.ndarray], bits: int) -> bytes:
    """Return frames one after the other, of an even number of bytes; bits without a gap between the frames."""
    raw = np.packbits(np.array(pixels).ravel(), bitorder="little") if bits == 1 else np.array(pixels)
    return raw.tobytes() + b"\0" * (raw.nbytes % 2)


def _deflated(raw: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(raw) + deflate.flush()


def _header(label: Volume, kind: str, frames: Sequence[tuple[int, int]]) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = SegmentationStorage if kind != "LABELMAP" else LABEL_MAP_STORAGE
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.Modality, dataset.SegmentationType = "DOE^JANE", "SEG", kind
    dataset.MaximumFractionalValue = 250
    dataset.Columns, dataset.Rows, _ = label.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.SegmentSequence = [_described(number) for number in NAMES]
    affine, spacing = lps_to_ras(label.affine), label.spacing_mm
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SpacingBetweenSlices = _strings(spacing[1], spacing[0]), _strings(spacing[2])[0]
    orientation.ImageOrientationPatient = _strings(*(affine[:3, :2] / spacing[:2]).T.ravel())
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_frame(number, affine @ [0, 0, k, 1]) for number, k in frames]
    return dataset


def _described(number: int) -> Dataset:
    segment, code = Dataset(), Dataset()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = number, NAMES[number][0], "MANUAL"
    code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning = "SCT", *NAMES[number][1:]
    segment.SegmentedPropertyTypeCodeSequence = [code]
    return segment


def _frame(number: int, position: np.ndarray) -> Dataset:
    frame, plane, segment = Dataset(), Dataset(), Dataset()
    plane.ImagePositionPatient = _strings(*position[:3])
    frame.PlanePositionSequence = [plane]
    if number:
        segment.ReferencedSegmentNumber = number
        frame.SegmentIdentificationSequence = [segment]
    return frame


def _strings(*values: float) -> list[str]:
    return [f"{value:.9g}"[:16] for value in values]
