"""What a compressed frame says of itself, read before any decoder sees it: its size, its bits, and that it is whole."""

from dataclasses import dataclass

_JPEG2000 = b"\xff\x4f\xff\x51"  # start of codestream, then its size: the first two markers
_JPEG = b"\xff\xd8\xff"
_END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
_FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}  # 0xF7: JPEG-LS
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}
_SIZE_BYTES = 43
_LARGEST_SIZE = 0xFFFF  # of Rows and Columns


@dataclass(frozen=True)
class Codestream:
    """One frame of the JPEG family.

    Attributes:
        data: the frame without container and padding.
        rows: its height in pixels.
        columns: its width in pixels.
        num_components: 1 for grey.
        bits: the bits a value takes.
        is_signed: whether its values have a sign; only JPEG 2000 can say so.
    """

    data: bytes
    rows: int
    columns: int
    num_components: int
    bits: int
    is_signed: bool


def starts_codestream(data: bytes) -> bool:
    """Return whether these are the first bytes of a JPEG, JPEG-LS or JPEG 2000 frame."""
    return data.startswith((_JPEG, _JPEG2000, b"\0\0\0\x0cjP  "))


def read_codestream(frame: bytes) -> Codestream:
    """Return what the frame's own header says.

    Raises:
        ValueError: if it is none of the JPEG family, or ends before its end marker: decoders would make up the rest.
    """
    start = frame.find(_JPEG2000) if not frame.startswith(_JPEG) else 0  # some writers leave JPEG 2000 in its container
    data = frame[max(start, 0) :].rstrip(b"\0\xff")
    if not data.endswith(_END):
        raise ValueError("no end marker")
    if not data.startswith((_JPEG2000, _JPEG)):
        raise ValueError("no JPEG")
    stream = _read_jpeg2000(data) if data.startswith(_JPEG2000) else _read_jpeg(data)
    if not (1 <= stream.rows <= _LARGEST_SIZE and 1 <= stream.columns <= _LARGEST_SIZE):
        raise ValueError("no size an image in DICOM can have")
    return stream


def _read_jpeg(data: bytes) -> Codestream:
    position = 2
    while position + 10 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:
            break
        if marker == 0xFF or marker in _BARE_MARKERS:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAME_HEADERS:
            bits, rows, columns, num_components = (
                data[position + 4],
                int.from_bytes(data[position + 5 : position + 7]),
                int.from_bytes(data[position + 7 : position + 9]),
                data[position + 9],
            )
            return Codestream(data, rows, columns, num_components, bits, is_signed=False)
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    raise ValueError("no frame header")


def _read_jpeg2000(data: bytes) -> Codestream:
    if len(data) < _SIZE_BYTES:
        raise ValueError("no size")
    right, bottom, left, top = (int.from_bytes(data[at : at + 4]) for at in (8, 12, 16, 20))
    _check_tiles(data)
    return Codestream(
        data,
        rows=bottom - top,
        columns=right - left,
        num_components=int.from_bytes(data[40:42]),
        bits=(data[42] & 0x7F) + 1,
        is_signed=bool(data[42] & 0x80),
    )


def _check_tiles(data: bytes) -> None:
    """Follow the lengths of the parts to the end marker: OpenJPEG fills up tiles that were cut off."""
    position = 2
    while data[position : position + 2] != _END:
        if position + 12 > len(data) or data[position] != 0xFF:
            raise ValueError("tiles are cut off")
        if data[position + 1] == 0x90:  # start of a tile-part, whose length counts from here; 0: up to the end
            length = int.from_bytes(data[position + 6 : position + 10])
            if not length:
                return
            position += length
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4])
