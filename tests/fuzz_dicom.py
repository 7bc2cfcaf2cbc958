"""The judge of DICOM series and enhanced objects for `fuzz.py`.

From pydicom's raw elements, by the standard's formula for the place of every pixel (PS3.3 C.7.6.2.1.1); bits and RLE
are decoded here, JPEG-LS and JPEG 2000 by other libraries than medgan's.
"""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from fuzz_parts import TO_RAS, ContradictionError, Part, UndecidedError, UnreadableError, is_announced
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.errors import BytesLengthException
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLosslessSV1, RLELossless

_NOT_IMAGES = ("Segmentation", "RT ", "Raw Data", "Parametric Map", "SR ", "Presentation State", "Document")


def dicom_parts(path: Path, said: str) -> list[Part]:
    """Return the frames of all slices in a folder, a zip or a file; those the warnings announce may be missing."""
    datasets = dict(_datasets(path))
    images = {name: each for name, each in datasets.items() if each is not None and "PixelData" in each}
    images = {name: each for name, each in images.items() if not _is_no_slice(each)}
    for name in set(datasets) - set(images):
        is_derived = datasets[name] is not None and _is_no_slice(datasets[name])
        if not is_derived and not is_announced(name, said):
            raise UnreadableError(f"{name} is damaged, and was left out without a word")
    if not images:
        raise UnreadableError("there is no image")
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if len({str(each.get(keyword)) for name, each in images.items() if not is_announced(name, said)}) > 1:
            raise ContradictionError(f"its files differ in {keyword}")
    parts = []
    for name, each in images.items():
        try:
            parts += _frame_parts(name, each)
        except UnreadableError:
            if not is_announced(name, said):
                raise
    return parts


def _is_no_slice(dataset: Dataset) -> bool:
    """Return whether a data set says of itself that it is no slice of a scan."""
    kind = UID(str(dataset.get("SOPClassUID", ""))).name
    return any(word in kind for word in _NOT_IMAGES) or "LOCALIZER" in str(dataset.get("ImageType"))


def _datasets(path: Path) -> Iterator[tuple[str, Dataset | None]]:
    if path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                contents = {Path(name).name: archive.read(name) for name in archive.namelist()}
        except Exception as error:
            raise UnreadableError("it is a damaged zip") from error
    else:
        contents = {file.name: file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path])}
    for name, content in contents.items():
        try:
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            pixels = dataset.get_item("PixelData")
            if isinstance(pixels, RawDataElement):  # as they are, whatever VR they claim
                dataset["PixelData"] = DataElement(pixels.tag, "OW", pixels.value)
            yield name, dataset
        except Exception:
            yield name, None


def _frame_parts(name: str, dataset: Dataset) -> list[Part]:
    try:
        frames = list(_stored_frames(dataset))
        return [_frame_part(name, dataset, n, frame, len(frames)) for n, frame in enumerate(frames)]
    except UndecidedError:
        raise
    except UnreadableError as error:
        raise UnreadableError(f"{name}: {error}") from error
    except Exception as error:
        raise UnreadableError(f"{name} cannot be read ({type(error).__name__}: {error})") from error


def _frame_part(name: str, dataset: Dataset, n: int, stored: np.ndarray, num_frames: int) -> Part:
    def find(group: str, keyword: str) -> object:
        """Look in the frame's own functional groups, then in the shared ones, then in the data set."""
        for sequence, index in (("PerFrameFunctionalGroupsSequence", n), ("SharedFunctionalGroupsSequence", 0)):
            groups = dataset[sequence].value[index] if sequence in dataset else Dataset()
            for macro in [*([groups[group]] if group in groups else []), *groups]:
                if macro.VR == "SQ" and macro.value and keyword in macro.value[0]:
                    return macro.value[0][keyword].value
        return dataset.get(keyword)

    def floats(group: str, keyword: str, count: int) -> np.ndarray:
        values = np.atleast_1d(np.array(find(group, keyword), dtype=np.float64))
        if values.shape != (count,) or not np.isfinite(values).all():
            raise UnreadableError(f"{keyword} is not {count} finite numbers")
        return values

    if "PerFrameFunctionalGroupsSequence" in dataset and len(dataset.PerFrameFunctionalGroupsSequence) != num_frames:
        raise UnreadableError("it has not one functional group per frame")
    position = floats("PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = floats("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = floats("PixelMeasuresSequence", "PixelSpacing", 2)
    if find("PixelValueTransformationSequence", "RescaleSlope") is None and not _is_scaled(dataset):
        slope, intercept = np.ones(1), np.zeros(1)
    else:
        slope = floats("PixelValueTransformationSequence", "RescaleSlope", 1)
        intercept = floats("PixelValueTransformationSequence", "RescaleIntercept", 1)
    if slope == 0:
        raise UnreadableError("its RescaleSlope is 0")
    rows, columns = np.indices(stored.shape).reshape(2, -1)
    points = position + np.outer(columns * spacing[1], orientation[:3]) + np.outer(rows * spacing[0], orientation[3:])
    return Part(name, points * TO_RAS, stored.reshape(-1) * slope + intercept)


def _is_scaled(dataset: Dataset) -> bool:
    """Return whether an image is CT or PET, whose stored values mean nothing without a rescale."""
    kind = UID(str(dataset.get("SOPClassUID", ""))).name
    return dataset.get("Modality") in ("CT", "PT") or "CT Image" in kind or "Positron" in kind


def _stored_frames(dataset: Dataset) -> Iterator[np.ndarray]:
    rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    num_frames = int(dataset.get("NumberOfFrames") or 1)
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or dataset.PhotometricInterpretation not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise UnreadableError("it is not grey")
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian)
    if not syntax.is_encapsulated:
        num_bytes = rows * columns * num_frames * bits // 8
        if not num_bytes <= len(dataset.PixelData) <= num_bytes + 1:
            raise UnreadableError(f"{num_bytes} bytes of pixels expected, {len(dataset.PixelData)} there")
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        words = np.frombuffer(dataset.PixelData[:num_bytes], f"{order}u{bits // 8}")
        for frame in words.reshape(num_frames, rows, columns):
            yield _meant(frame, dataset)
        return
    fragments = list(generate_frames(dataset.PixelData, number_of_frames=num_frames))
    if len(fragments) != num_frames:
        raise UnreadableError(f"{num_frames} frames expected, {len(fragments)} there")
    for fragment in fragments:
        if syntax == RLELossless:
            yield _meant(_by_rle(fragment, rows, columns, bits // 8), dataset)
        else:
            _check_sign(dataset, fragment)
            yield _by_other_decoder(dataset, syntax)


def _meant(words: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return the integers in the stored bits of every word."""
    stored = int(dataset.BitsStored)
    try:
        high = int(dataset.HighBit)
    except (AttributeError, TypeError, BytesLengthException):
        high = stored - 1  # absent or unreadable: today's standard allows nothing else
    sign = dataset.get("PixelRepresentation")
    sign = int(sign) if isinstance(sign, bytes) else sign
    if not 0 < stored <= high + 1 <= int(dataset.BitsAllocated) or sign not in (0, 1, None):
        raise UnreadableError("its bits contradict each other")
    values = (words.astype(np.int64) >> (high + 1 - stored)) & ((1 << stored) - 1)
    if sign is None and (values >> (stored - 1)).any():
        raise UnreadableError("it does not say whether its values are signed, and that matters")
    return np.where(values >> (stored - 1), values - (1 << stored), values) if sign else values


def _by_rle(fragment: bytes, rows: int, columns: int, num_bytes: int) -> np.ndarray:
    """Decode one RLE frame (PS3.5 annex G): byte planes, most significant first, each run-length coded."""
    header = np.frombuffer(fragment[:64], "<u4")
    if header[0] != num_bytes:
        raise UnreadableError(f"{header[0]} RLE segments for {num_bytes} bytes a pixel")
    planes = []
    for start, end in zip(header[1 : num_bytes + 1], [*header[2 : num_bytes + 1], len(fragment)], strict=True):
        plane, at = bytearray(), int(start)
        while at < end and len(plane) < rows * columns:
            control = fragment[at]
            if control < 128:
                plane += fragment[at + 1 : at + 2 + control]
            at += control + 2 if control < 128 else 2 if control > 128 else 1
            plane += fragment[at - 1 : at] * (257 - control) if control > 128 else b""
        if not rows * columns <= len(plane) <= rows * columns + 1:  # one more pads it to an even number
            raise UnreadableError("its RLE runs do not fill the frame")
        planes.append(np.frombuffer(bytes(plane[: rows * columns]), np.uint8))
    return sum(plane.astype(np.uint64) << np.uint64(8 * n) for n, plane in enumerate(planes[::-1])).reshape(
        rows, columns
    )


def _check_sign(dataset: Dataset, fragment: bytes) -> None:
    """Compare the sign in a JPEG 2000 code stream's SIZ marker, if it is one, with what the header says."""
    start = fragment.find(b"\xff\x4f\xff\x51")
    if start >= 0 and dataset.get("PixelRepresentation") != fragment[start + 42] >> 7:
        raise UnreadableError("header and code stream do not agree on the sign")


def _by_other_decoder(dataset: Dataset, syntax: UID) -> np.ndarray:
    if syntax == JPEGLosslessSV1 or not syntax.name.startswith(("JPEG-LS", "JPEG 2000")):
        raise UndecidedError(syntax.name)
    if dataset.get("PixelRepresentation") is None:
        raise UnreadableError("it does not say whether its values are signed")
    for keyword, usual in (("SamplesPerPixel", 1), ("PhotometricInterpretation", "MONOCHROME2")):
        if dataset.get(keyword) is None:
            setattr(dataset, keyword, usual)
    stored, _ = get_decoder(syntax).as_array(dataset, index=0, raw=True)
    return stored
