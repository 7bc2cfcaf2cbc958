"""The values of one DICOM frame: pixels checked, decoded and rescaled.

Uncompressed and RLE pixels are decoded here; frames of the JPEG family by a `Decoder`, in a child process. The header
says which bits of a decoded word count and whether they have a sign, whatever the codestream says.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
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
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
)

from medgan.errors import MedganError
from medgan.volume.checks import check_num_bytes
from medgan.volume.dicom.codestream import Codestream, read_codestream
from medgan.volume.dicom.decoder import Decoder
from medgan.volume.dicom.files import DicomFile
from medgan.volume.dicom.frames import encapsulated_frame, native_frame, pixel_element
from medgan.volume.dicom.rle import decode_rle

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
_COLOURS = {"PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "XYB"} | {
    f"YBR_{kind}" for kind in ("FULL", "FULL_422", "PARTIAL_422", "PARTIAL_420", "ICT", "RCT")
}
_MUST_RESCALE = {  # their values mean nothing (not HU, not Bq/ml) without slope and intercept
    **dict.fromkeys(("CT", CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage), "CT"),
    **dict.fromkeys(("PT", PositronEmissionTomographyImageStorage, EnhancedPETImageStorage), "PT"),
    LegacyConvertedEnhancedPETImageStorage: "PT",
}
_LARGEST_BLANK_BYTES = 1 << 25  # an all-air slice compresses without bound; a frame larger than this must not
_MOST_EXPANSION = 1000


def check_pixels(file: DicomFile) -> None:
    """Raise `MedganError` unless a header promises grey frames whose pixels are there and can be decoded."""
    photometric = file.text("PhotometricInterpretation")
    if file.integer("SamplesPerPixel", default=1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        found = photometric if photometric in _COLOURS else "MONOCHROME1 or MONOCHROME2 is absent"
        raise MedganError(f"{file.name} must be a grey image, but is a colour one ({found}).")
    if "FloatPixelData" in file.header or "DoubleFloatPixelData" in file.header:
        raise MedganError(
            f"{file.name} must hold integer pixels, but its pixel data are floating-point: not supported."
        )
    if "ModalityLUTSequence" in file.header:
        raise MedganError(f"{file.name} maps its values by a ModalityLUTSequence instead of a rescale: not supported.")
    syntax = file.transfer_syntax
    if syntax not in _UNCOMPRESSED | _JPEG_FAMILY | {RLELossless}:
        found = f"{syntax.name} ({syntax})" if syntax.is_transfer_syntax else "an unknown one"
        raise MedganError(f"{file.name} has an unsupported transfer syntax, {found}; decompress it.")
    _check_bits(file)
    if "SharedFunctionalGroupsSequence" not in file.header:  # there the rescale is each frame's own
        rescale_of(file)
    _check_length(file, is_compressed=syntax.is_encapsulated)


def rescale_of(file: DicomFile) -> tuple[float, float]:
    """Return slope and intercept, (1, 0) where a modality needs none and has none.

    Raises:
        MedganError: if a CT or PET has none, or the slope is 0.
    """
    if "RescaleSlope" not in file.header and "RescaleIntercept" not in file.header:
        if kind := _MUST_RESCALE.get(file.text("Modality"), _MUST_RESCALE.get(file.sop_class)):
            raise MedganError(f"{file.name} is a {kind} slice without RescaleSlope, so its values have no unit.")
        return 1.0, 0.0
    slope, intercept = (float(file.numbers(f"Rescale{name}", 1)[0]) for name in ("Slope", "Intercept"))
    if slope == 0:
        raise MedganError(f"{file.name} must have a RescaleSlope other than 0, which makes all values equal.")
    return slope, intercept


def check_rescales(files: Sequence[DicomFile]) -> None:
    """Raise `MedganError` if some slices of a series have a rescale and others have none."""
    has_slope = ["RescaleSlope" in file.header for file in files]
    if any(has_slope) and not all(has_slope):
        raise MedganError(
            f"{files[has_slope.index(False)].name} has no RescaleSlope, but other slices of its series have one, such "
            f"as {files[has_slope.index(True)].name}; export the series again."
        )


def read_frame(
    file: DicomFile, frame: int | None, *, decoder: Decoder, rescale: tuple[float, float] | None = None
) -> np.ndarray:
    """Return the rescaled values of one frame of a checked file, axes (rows, columns), float32.

    Args:
        file: one that `check_pixels` let pass.
        frame: the frame of a multi-frame file, from 0; None for a file that holds one slice.
        decoder: decodes compressed frames; it starts nothing before the first one.
        rescale: slope and intercept of the frame; None for those of the file.

    Raises:
        MedganError: if the pixels cannot be decoded, or contradict the header.
    """
    num_frames = file.integer("NumberOfFrames", default=1)
    if frame is None and num_frames != 1:
        raise MedganError(
            f"{file.name} is a multi-frame object of {num_frames} frames, but was taken for a single slice."
        )
    slope, intercept = rescale or rescale_of(file)
    stored = _stored(file, frame or 0, num_frames, decoder)
    with np.errstate(over="ignore"):  # an infinite value is refused with the volume
        values: np.ndarray = (stored * slope + intercept).astype(np.float32)
    return values


def _check_bits(file: DicomFile) -> None:
    allocated, stored = file.integer("BitsAllocated"), file.integer("BitsStored")
    high_bit, sign = file.integer("HighBit", default=stored - 1), file.integer("PixelRepresentation")
    if not file.text("PixelRepresentation"):
        raise MedganError(
            f"{file.name} must say whether its pixels have a sign (PixelRepresentation); export it again."
        )
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or high_bit != stored - 1 or sign not in (0, 1):
        raise MedganError(
            f"{file.name} must hold pixels of 8, 16 or 32 bits, the lowest of them stored, found BitsAllocated "
            f"{allocated}, BitsStored {stored}, HighBit {high_bit}, PixelRepresentation {sign}; export it again."
        )


def _check_length(file: DicomFile, *, is_compressed: bool) -> None:
    element = pixel_element(file)
    num_frames = file.integer("NumberOfFrames", default=1)
    if element is None or element.length == 0:
        raise MedganError(f"{file.name} has no pixel data, or they are cut off; copy it again.")
    if num_frames < 1:
        raise MedganError(f"{file.name} must have a NumberOfFrames above zero, found {num_frames}; export it again.")
    if is_compressed != (element.length is None):
        found = "encapsulated" if element.length is None else "not encapsulated"
        raise MedganError(f"{file.name} is damaged: its pixel data are {found}, against its transfer syntax.")
    if element.length is None:
        return
    num_bytes, rows, columns = file.integer("BitsAllocated") // 8, file.integer("Rows"), file.integer("Columns")
    claimed = num_frames * rows * columns * num_bytes
    if element.value is None:
        available = file.path.stat().st_size - element.start
        check_num_bytes(file.name, claimed=element.length, available=available)
    check_num_bytes(file.name, claimed=claimed, available=element.length)
    if element.length >= claimed + max(num_bytes * min(rows, columns), 2):  # less is padding, more a row or a column
        raise MedganError(
            f"{file.name} has a damaged header: its size calls for {claimed:,} bytes of pixels, but it holds "
            f"{element.length:,}; export it again."
        )


def _stored(file: DicomFile, index: int, num_frames: int, decoder: Decoder) -> np.ndarray:
    """Return the stored integers of a frame, axes (rows, columns)."""
    syntax = file.transfer_syntax
    rows, columns, num_bytes = file.integer("Rows"), file.integer("Columns"), file.integer("BitsAllocated") // 8
    if syntax in _UNCOMPRESSED:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        data = native_frame(file, index, num_bytes=rows * columns * num_bytes)
        with _damage_told(file):
            words = np.frombuffer(data, f"{order}u{num_bytes}").reshape(rows, columns)
        return _significant(file, words.astype(f"u{num_bytes}", copy=False))
    frame = encapsulated_frame(file, index, num_frames=num_frames)
    if syntax == RLELossless:
        with _damage_told(file):
            return _significant(file, decode_rle(frame, rows=rows, columns=columns, num_bytes=num_bytes))
    with _damage_told(file):
        stream = read_codestream(frame)
    _check_stream(file, stream)
    decoded = decoder.decode(stream, syntax, where=file.name)
    _check_sign(file, stream, decoded)
    words = decoded.astype(f"u{num_bytes}")
    values = _significant(file, words)
    _check_none_cut(file, stream, words, values)
    return values


def _check_stream(file: DicomFile, stream: Codestream) -> None:
    rows, columns, allocated = file.integer("Rows"), file.integer("Columns"), file.integer("BitsAllocated")
    found = f"{stream.columns}x{stream.rows} pixels of {stream.bits} bits in {stream.num_components} channel(s)"
    if (stream.rows, stream.columns, stream.num_components) != (rows, columns, 1) or stream.bits > min(allocated, 16):
        raise MedganError(
            f"{file.name} is damaged: its header calls for {columns}x{rows} grey pixels of {allocated} bits (16 at "
            f"most if compressed), but its pixel data hold {found}."
        )
    num_bytes = rows * columns * allocated // 8
    if num_bytes > max(_LARGEST_BLANK_BYTES, _MOST_EXPANSION * len(stream.data)):
        raise MedganError(
            f"{file.name} is truncated or its header is damaged: {num_bytes:,} bytes of pixels cannot come from a "
            f"compressed size of {len(stream.data):,}."
        )


def _check_sign(file: DicomFile, stream: Codestream, decoded: np.ndarray) -> None:
    """Refuse a frame whose codestream and header read its values differently."""
    is_signed, stored = file.integer("PixelRepresentation") == 1, file.integer("BitsStored")
    lost_sign = is_signed and not stream.is_signed and stream.bits < stored and int(decoded.max()) >> (stream.bits - 1)
    if lost_sign or (not is_signed and int(decoded.min()) < 0):
        raise MedganError(
            f"{file.name} contradicts itself: its header says {'signed' if is_signed else 'unsigned'} pixels of "
            f"{stored} bits, its codestream {'signed' if stream.is_signed else 'unsigned'} ones of {stream.bits}; "
            "decompress it with the program that made it."
        )


def _check_none_cut(file: DicomFile, stream: Codestream, words: np.ndarray, values: np.ndarray) -> None:
    """Refuse a frame that holds larger values than the header has bits for.

    Codestreams of 16 bits under a header of 12 are common and harmless while the values keep to 12, with their sign
    extended or not. Where they do not, either the header is damaged or something else lies above them.
    """
    stored = file.integer("BitsStored")
    if stored < 8 * words.itemsize and not ((values == words.view(values.dtype)) | (words >> stored == 0)).all():
        raise MedganError(
            f"{file.name} contradicts itself: its header says pixels of {stored} bits, but its codestream, of "
            f"{stream.bits}, holds values beyond them; decompress it with the program that made it."
        )


def _significant(file: DicomFile, words: np.ndarray) -> np.ndarray:
    """Return words without the bits that hold no pixel (old overlays), the sign bit extended where there is one."""
    allocated, stored = file.integer("BitsAllocated"), file.integer("BitsStored")
    kind = "i" if file.integer("PixelRepresentation") == 1 else "u"
    signed: np.ndarray = words.view(f"{kind}{allocated // 8}")
    if stored == allocated:
        return signed
    shifted: np.ndarray = (signed << (allocated - stored)) >> (allocated - stored)
    return shifted


@contextmanager
def _damage_told(file: DicomFile) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise MedganError(
            f"{file.name} is damaged: its pixel data ({file.transfer_syntax.name}) are truncated or cannot be decoded; "
            "copy it again."
        ) from error
