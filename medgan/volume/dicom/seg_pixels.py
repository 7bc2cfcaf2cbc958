"""The pixels of a DICOM SEG: bits packed without a gap between frames, or bytes and words; plain or compressed."""

import zlib

import numpy as np
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medgan.errors import MedganError
from medgan.volume.dicom.codestream import read_codestream
from medgan.volume.dicom.decoder import Decoder
from medgan.volume.dicom.files import DicomFile
from medgan.volume.dicom.frames import encapsulated_frame, native_frame, pixel_element
from medgan.volume.dicom.rle import decode_rle

_NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian}
_LOSSLESS_JPEG = {JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless}
_MOST_FRAMES_EXPAND = 4096  # an empty frame of JPEG 2000 takes about a thousandth; a file that claims more is a bomb
_DEFLATED_FRAMES = UID(
    "1.2.840.10008.1.2.8.1"
)  # Deflated Image Frame Compression, of 2023: pydicom 3 has no name for it


class SegPixels:
    """The stored pixels of a segmentation object, a frame at a time.

    Raises:
        MedganError: on construction, if the pixel data are not there as the header promises, or of a kind no
            segmentation has.
    """

    def __init__(self, file: DicomFile, decoder: Decoder) -> None:
        self._file, self._decoder = file, decoder
        self._size = file.integer("Rows"), file.integer("Columns")
        self._num_frames = file.integer("NumberOfFrames", default=1)
        self._bits = file.integer("BitsAllocated")
        self._syntax = file.transfer_syntax
        self._group: tuple[int, bytes] = -1, b""  # eight frames of bits, which fill whole bytes
        self._check()

    def frame(self, index: int) -> np.ndarray:
        """Return one frame, axes (rows, columns), uint8 or uint16.

        Raises:
            MedganError: if it cannot be decoded.
        """
        try:
            pixels = self._native(index) if self._syntax in _NATIVE else self._decoded(index)
            return pixels.reshape(self._size)
        except (ValueError, zlib.error) as error:  # what the decoders say of bytes that make no sense, or too few
            raise self._damaged() from error

    def _check(self) -> None:
        file = self._file
        if min(*self._size, self._num_frames) < 1 or file.integer("SamplesPerPixel", default=1) != 1:
            raise MedganError(f"{file.name} has a damaged header: its frames have no size; export it again.")
        if self._syntax not in _NATIVE | _LOSSLESS_JPEG | {RLELossless, _DEFLATED_FRAMES}:
            known = self._syntax.name if self._syntax.is_transfer_syntax else "an unknown one"
            raise MedganError(f"{file.name} has an unsupported transfer syntax, {known}; decompress it.")
        is_packed = self._bits == 1 and self._syntax in _NATIVE | {_DEFLATED_FRAMES}
        if not (is_packed or self._bits in (8, 16)):
            raise MedganError(
                f"{file.name} must have 1, 8 or 16 bits a pixel to be a segmentation, found {self._bits} in "
                f"{self._syntax.name}; export it again."
            )
        element = pixel_element(file)
        if element is None:
            raise MedganError(f"{file.name} has no pixel data, or they are cut off; copy it again.")
        claimed = (self._size[0] * self._size[1] * self._num_frames * self._bits + 7) // 8
        available = len(element.value) if element.value is not None else file.path.stat().st_size - element.start
        if self._syntax in _NATIVE:
            available = min(available, element.length or 0)
            fits = available in (claimed, claimed + claimed % 2)  # an odd length is padded by one byte
        else:
            fits = available * _MOST_FRAMES_EXPAND >= claimed
        if not fits:
            raise MedganError(
                f"{file.name} is truncated or its header is damaged: {self._num_frames} frames of "
                f"{self._size[1]}x{self._size[0]} pixels call for {claimed:,} bytes, found {available:,}; export it "
                "again."
            )

    def _native(self, index: int) -> np.ndarray:
        num_pixels = self._size[0] * self._size[1]
        if self._bits != 1:
            stored = native_frame(self._file, index, num_bytes=num_pixels * self._bits // 8)
            return np.frombuffer(stored, f"<u{self._bits // 8}")
        if self._group[0] != index // 8:
            self._group = index // 8, native_frame(self._file, index // 8, num_bytes=num_pixels)
        return _bits(self._group[1], start=index % 8 * num_pixels, count=num_pixels)

    def _decoded(self, index: int) -> np.ndarray:
        rows, columns = self._size
        frame = encapsulated_frame(self._file, index, num_frames=self._num_frames)
        if self._syntax == RLELossless:
            return decode_rle(frame, rows=rows, columns=columns, num_bytes=self._bits // 8)
        if self._syntax == _DEFLATED_FRAMES:
            stored = self._inflated(frame, num_bytes=(rows * columns * self._bits + 7) // 8)
            return _bits(stored, start=0, count=rows * columns) if self._bits == 1 else self._words(stored)
        stream = read_codestream(frame)
        if (stream.rows, stream.columns, stream.num_components) != (rows, columns, 1):
            raise self._damaged()
        return self._decoder.decode(stream, self._syntax, where=self._file.name)

    def _inflated(self, frame: bytes, *, num_bytes: int) -> bytes:
        stored = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, num_bytes + 2)
        if len(stored) not in (num_bytes, num_bytes + num_bytes % 2):
            raise self._damaged()
        return stored[:num_bytes]

    def _words(self, stored: bytes) -> np.ndarray:
        return np.frombuffer(stored, f"<u{self._bits // 8}")

    def _damaged(self) -> MedganError:
        return MedganError(
            f"{self._file.name} is damaged: its pixel data ({self._syntax.name}) are truncated or cannot be decoded; "
            "copy it again."
        )


def _bits(stored: bytes, *, start: int, count: int) -> np.ndarray:
    """Return `count` bits as uint8 0 and 1; the first pixel is the lowest bit of the first byte."""
    first = start // 8
    packed = np.frombuffer(stored, np.uint8)[first : (start + count + 7) // 8]
    return np.unpackbits(packed, count=start % 8 + count, bitorder="little")[start % 8 :]
