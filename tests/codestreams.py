"""Compressed frames for the tests, by encoders that are not the decoders under test."""

import io
import struct
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    generate_uid,
)


def by_gdcm(pixels: np.ndarray, syntax: UID) -> bytes:
    """Return a frame as JPEG lossless (SV1) or JPEG 2000 lossless."""
    compressor = {JPEGLosslessSV1: "JPEG", JPEG2000Lossless: "JPEG2000"}[syntax]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.dcm"
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetUseCompression(True)
        writer.SetCompressor(compressor)
        writer.SetFileName(str(path))
        writer.Execute(sitk.GetImageFromArray(pixels[None]))
        dataset = dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == syntax
        return next(generate_frames(dataset.PixelData, number_of_frames=1))


def by_pillow(pixels: np.ndarray, kind: str, **options) -> bytes:
    """Return a frame as JPEG (8 bits) or JPEG2000."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def lossless_jpeg(pixels: np.ndarray, *, bits: int, predictor: int = 1) -> bytes:
    """Return a frame as JPEG lossless by the standard (ITU T.81, annex H), one Huffman code of 5 bits for all lengths.

    Predictor 1 is the pixel to the left, 4 is left + above - diagonal.
    """
    rows, columns = pixels.shape
    values = pixels.astype(np.int64)
    guess = np.zeros_like(values)
    guess[:, 1:] = values[:, :-1]
    guess[1:, 0] = values[:-1, 0]
    guess[0, 0] = 1 << (bits - 1)
    if predictor == 4:
        guess[1:, 1:] = values[1:, :-1] + values[:-1, 1:] - values[:-1, :-1]
    differences = ((values - guess) & 0xFFFF).astype(np.uint16).astype(np.int16).ravel().tolist()
    stream = ""
    for difference in differences:
        length = abs(difference).bit_length()
        stream += f"{length:05b}"
        if 0 < length < 16:
            stream += f"{difference if difference > 0 else difference + (1 << length) - 1:0{length}b}"
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8).replace(b"\xff", b"\xff\0")
    codes = bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17))
    return (
        b"\xff\xd8"
        + struct.pack(">HHBHHB3B", 0xFFC3, 11, bits, rows, columns, 1, 1, 0x11, 0)
        + struct.pack(">HHB", 0xFFC4, 3 + len(codes), 0)
        + codes
        + struct.pack(">HHB2B3B", 0xFFDA, 8, 1, 1, 0, predictor, 0, 0)
        + scan
        + b"\xff\xd9"
    )


def write_file(path: Path, syntax: UID, pixel_data: bytes, pixels: np.ndarray, **elements: object) -> Path:
    """Write a CT file whose header fits `pixels` but for `elements`; None deletes one. Encapsulated data come ready."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.PatientName, dataset.Modality = generate_uid(), "DOE^JANE", "CT"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixel_data
    dataset["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    dataset["PixelData"].is_undefined_length = syntax.is_encapsulated
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def native(pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return uncompressed pixel data, padded to an even length."""
    data = pixels.astype(pixels.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes()
    return data + b"\0" * (len(data) % 2)


def items(*fragments: bytes, table: bytes = b"") -> bytes:
    """Return encapsulated pixel data of these fragments behind a basic offset table."""
    padded = [table, *(fragment + b"\0" * (len(fragment) % 2) for fragment in fragments)]
    return b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item for item in padded)


def offsets(*fragments: bytes) -> list[int]:
    """Return where each fragment begins, counted from the first."""
    starts = [0]
    for fragment in fragments:
        starts.append(starts[-1] + 8 + len(fragment) + len(fragment) % 2)
    return [start for start, _ in pairwise(starts)]
