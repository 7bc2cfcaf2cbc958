"""The values of one DICOM slice: pixels checked, decoded and rescaled.

Uncompressed and RLE pixels are decoded by pydicom (GDCM fills up a truncated RLE frame without a word). Frames of the
JPEG family are handed to SimpleITK (GDCM) as a bare copy that holds the image's size, its bits and the frame,
and nothing else: GDCM then neither rescales, nor inverts MONOCHROME1, nor parses elements a stranger wrote.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from medgan.errors import MedganError
from medgan.volume.checks import check_num_bytes
from medgan.volume.dicom.files import DicomFile
from medgan.volume.itk import check_simpleitk

check_simpleitk()

_UNCOMPRESSED = {
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
}
_JPEG_FAMILY = {
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
}
_PIXEL_DATA = 0x7FE00010
_UNDEFINED_LENGTH = 0xFFFFFFFF
_MUST_RESCALE = {"CT", "PT"}  # their values mean nothing (not HU, not Bq/ml) without slope and intercept


def check_pixels(file: DicomFile) -> None:
    """Raise `MedganError` unless a header promises one grey frame whose pixels are there and can be decoded."""
    photometric = file.text("PhotometricInterpretation")
    if file.integer("SamplesPerPixel", default=1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise MedganError(
            f"{file.path} must be a grey image, but is a colour one ({photometric or 'photometric absent'})."
        )
    if file.integer("NumberOfFrames", default=1) != 1 or "SharedFunctionalGroupsSequence" in file.header:
        raise MedganError(
            f"{file.path} is an enhanced (multi-frame) object, which is not supported; export single slices."
        )
    if "ModalityLUTSequence" in file.header:
        raise MedganError(f"{file.path} maps its values by a ModalityLUTSequence instead of a rescale: not supported.")
    syntax = _syntax_of(file)
    if syntax not in _UNCOMPRESSED | _JPEG_FAMILY | {RLELossless}:
        raise MedganError(f"{file.path} has an unsupported transfer syntax, {syntax.name} ({syntax}); decompress it.")
    rescale_of(file)
    _check_length(file, is_compressed=syntax.is_encapsulated)


def rescale_of(file: DicomFile) -> tuple[float, float]:
    """Return slope and intercept, (1, 0) where a modality needs none and has none.

    Raises:
        MedganError: if a CT or PET has none, or the slope is 0.
    """
    if "RescaleSlope" not in file.header and "RescaleIntercept" not in file.header:
        if (modality := file.text("Modality")) in _MUST_RESCALE:
            raise MedganError(f"{file.path} is a {modality} slice without RescaleSlope, so its values have no unit.")
        return 1.0, 0.0
    slope, intercept = (float(file.numbers(f"Rescale{name}", 1)[0]) for name in ("Slope", "Intercept"))
    if slope == 0:
        raise MedganError(f"{file.path} must have a RescaleSlope other than 0, which makes all values equal.")
    return slope, intercept


def read_pixels(file: DicomFile) -> np.ndarray:
    """Return the rescaled values of a checked slice, axes (rows, columns), float32.

    Raises:
        MedganError: if the pixels cannot be decoded.
    """
    slope, intercept = rescale_of(file)
    try:
        dataset = dcmread(file.path, force=True)
        dataset.file_meta.TransferSyntaxUID = _syntax_of(file)  # a bare data set does not say
        stored = _decode_jpeg(dataset) if _syntax_of(file) in _JPEG_FAMILY else _decode(dataset)
    except Exception as error:  # damaged bytes make pydicom and GDCM raise many kinds
        raise _undecodable(file) from error
    if stored.shape != (file.header.Rows, file.header.Columns):
        raise _undecodable(file)
    values: np.ndarray = (stored * slope + intercept).astype(np.float32)
    return values


def _syntax_of(file: DicomFile) -> UID:
    meta = getattr(file.header, "file_meta", Dataset())
    return UID(str(meta.get("TransferSyntaxUID", "") or ImplicitVRLittleEndian))


def _check_length(file: DicomFile, *, is_compressed: bool) -> None:
    element: Any = file.header.get_item(_PIXEL_DATA, keep_deferred=True)
    if element is None:
        raise MedganError(f"{file.path} has no pixel data, or they are cut off; copy it again.")
    if is_compressed:
        return
    row_bytes = file.integer("Columns") * file.integer("BitsAllocated") // 8
    claimed = file.integer("Rows") * row_bytes
    if not isinstance(element, RawDataElement) or element.value is not None:  # short enough to be in memory already
        available = len(element.value)
    elif element.length == _UNDEFINED_LENGTH:
        available = 0
    else:
        available = element.length
        check_num_bytes(file.path, claimed=available, available=file.path.stat().st_size - element.value_tell)
    check_num_bytes(file.path, claimed=claimed, available=available)
    if available >= claimed + max(row_bytes, 2):  # an odd length is padded by one byte
        raise MedganError(
            f"{file.path} has a damaged header: its size calls for {claimed:,} bytes of pixels, but it holds "
            f"{available:,}; export it again."
        )


def _decode(dataset: Dataset) -> np.ndarray:
    is_rle = dataset.file_meta.get("TransferSyntaxUID") == RLELossless
    decoded: np.ndarray = pixel_array(dataset, decoding_plugin="pydicom" if is_rle else "")
    return decoded


def _decode_jpeg(dataset: Dataset) -> np.ndarray:
    """Return the stored integers of a data set's one frame, axes (rows, columns)."""
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError("no end marker")  # libjpeg and CharLS would make up the rest
    with tempfile.TemporaryDirectory(prefix="medgan-") as folder:
        copy = Path(folder) / "slice.dcm"
        _bare_copy(dataset, frame).save_as(copy, enforce_file_format=True)
        decoded: np.ndarray = sitk.GetArrayFromImage(sitk.ReadImage(str(copy), imageIO="GDCMImageIO"))
    return decoded.reshape(decoded.shape[-2:])


def _bare_copy(dataset: Dataset, frame: bytes) -> Dataset:
    copy = Dataset()
    copy.file_meta = FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    copy.SOPClassUID = copy.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    copy.SamplesPerPixel, copy.PhotometricInterpretation = 1, "MONOCHROME2"
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(copy, keyword, dataset[keyword].value)
    copy.PixelData = encapsulate([frame])
    copy["PixelData"].VR = "OB"
    copy["PixelData"].is_undefined_length = True
    return copy


def _undecodable(file: DicomFile) -> MedganError:
    return MedganError(
        f"{file.path} is damaged: its pixel data ({_syntax_of(file).name}) are truncated or cannot be decoded; "
        "copy it again."
    )
