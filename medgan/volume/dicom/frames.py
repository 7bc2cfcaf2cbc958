"""Where the bytes of one frame lie in a DICOM file, found without decoding or even reading the others."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.dataelem import RawDataElement

from medgan.errors import MedganError
from medgan.volume.dicom.codestream import starts_codestream
from medgan.volume.dicom.files import DicomFile

_PIXEL_DATA = 0x7FE00010
_EXTENDED_OFFSETS = 0x7FE00001
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"

Span = tuple[int, int]
"""The first byte and the length of a piece of a file."""


@dataclass(frozen=True)
class PixelElement:
    """The pixel data of a file, which lie on disk, or in memory where they are short or were deflated.

    Attributes:
        start: the byte of the file, or of `value`, where they begin.
        length: in bytes; None for encapsulated frames, whose length is undefined.
        value: the bytes themselves if they are in memory.
    """

    start: int
    length: int | None
    value: bytes | None


def pixel_element(file: DicomFile) -> PixelElement | None:
    """Return where the pixel data of a file lie, None if it has none."""
    element: Any = file.header.get_item(_PIXEL_DATA, keep_deferred=True)
    if element is None:
        return None
    if not isinstance(element, RawDataElement):
        return PixelElement(0, None if element.is_undefined_length else len(element.value), bytes(element.value))
    is_undefined = element.length == _UNDEFINED_LENGTH
    if element.value is None:
        return PixelElement(element.value_tell, None if is_undefined else element.length, None)
    return PixelElement(0, None if is_undefined else len(element.value), element.value)


def native_frame(file: DicomFile, index: int, *, num_bytes: int) -> bytes:
    """Return the bytes of an uncompressed frame; fewer where the file ends before it does."""
    element = pixel_element(file)
    assert element is not None, "check_pixels has seen it"
    with _opened(file, element) as stream:
        stream.seek(element.start + index * num_bytes)
        return stream.read(num_bytes)


def encapsulated_frame(file: DicomFile, index: int, *, num_frames: int) -> bytes:
    """Return the bytes of a compressed frame, its fragments joined.

    Raises:
        MedganError: if the pixel data are cut off, or hold another number of frames than `num_frames`.
    """
    element = pixel_element(file)
    assert element is not None, "check_pixels has seen it"
    extended = file.header.get_item(_EXTENDED_OFFSETS)
    offsets = bytes(extended.value) if extended is not None and extended.value else b""
    with _opened(file, element) as stream:
        try:
            if element.value is not None:
                frames = _frames_of(stream, element.start, len(element.value), num_frames, offsets)
            else:
                stat = file.path.stat()
                frames = _frames_on_disk(
                    file.path, element.start, num_frames, offsets, num_bytes=stat.st_size, modified_ns=stat.st_mtime_ns
                )
        except ValueError as error:
            raise MedganError(f"{file.name} has damaged pixel data: {error}; copy or export it again.") from error
        return b"".join(_read(stream, span) for span in frames[index])


@contextmanager
def _opened(file: DicomFile, element: PixelElement) -> Iterator[BinaryIO]:
    with BytesIO(element.value) if element.value is not None else file.path.open("rb") as stream:
        yield stream


def _read(stream: BinaryIO, span: Span) -> bytes:
    stream.seek(span[0])
    return stream.read(span[1])


@lru_cache(maxsize=4)
def _frames_on_disk(
    path: Path, start: int, num_frames: int, offsets: bytes, *, num_bytes: int, modified_ns: int
) -> list[list[Span]]:
    """Return the fragments of every frame of a file that is as it was; a volume asks for them frame by frame."""
    with path.open("rb") as stream:
        return _frames_of(stream, start, num_bytes, num_frames, offsets)


def _frames_of(stream: BinaryIO, start: int, end: int, num_frames: int, offsets: bytes) -> list[list[Span]]:
    """Return the fragments of every frame, by the offset tables or by where frames begin.

    Raises:
        ValueError: in words for a message, if they do not add up to `num_frames`.
    """
    table, *fragments = _items(stream, start, end)
    if num_frames == 1:
        if sum(starts_codestream(_read(stream, (at, 12))) for at, _ in fragments) > 1:
            raise ValueError("it holds more frames than NumberOfFrames says, 1")
        return [fragments]
    width, table_bytes = ("Q", offsets) if offsets else ("I", _read(stream, table))
    if table_bytes:
        first = fragments[0][0] - 8 if fragments else 0
        numbers = struct.unpack(f"<{len(table_bytes) // struct.calcsize(width)}{width}", table_bytes)
        firsts = _by_offsets(fragments, [first + number for number in numbers])
    elif len(fragments) == num_frames:
        firsts = list(range(num_frames))
    else:
        firsts = [n for n, (at, _) in enumerate(fragments) if starts_codestream(_read(stream, (at, 12)))]
    if len(firsts) != num_frames:
        raise ValueError(f"NumberOfFrames says {num_frames}, but it holds {len(firsts)} frames")
    stops = dict(zip(sorted(firsts), [*sorted(firsts)[1:], len(fragments)], strict=True))
    return [fragments[first : stops[first]] for first in firsts]


def _items(stream: BinaryIO, start: int, end: int) -> list[Span]:
    """Return every item: the basic offset table first, then the fragments."""
    items: list[Span] = []
    position = start
    while position < end:
        stream.seek(position)
        head = stream.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == _END:
            break
        if head[:4] != _ITEM or len(head) < 8 or position + 8 + length > end:
            raise ValueError("they are truncated, or not in items")
        items.append((position + 8, length))
        position += 8 + length
    if len(items) < 2:
        raise ValueError("they are truncated, no frame is there")
    return items


def _by_offsets(fragments: Sequence[Span], offsets: Sequence[int]) -> list[int]:
    """Return the fragment each frame begins with."""
    index = {at - 8: n for n, (at, _) in enumerate(fragments)}
    if any(offset not in index for offset in offsets) or len(set(offsets)) != len(offsets):
        raise ValueError("its offset table points between its frames")
    return [index[offset] for offset in offsets]
