"""Voxels as a file stores them: read whole, to the last byte and its checksum, and never more than they should be."""

import math
import re
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from isal import isal_zlib

from medgan.errors import MedganError
from medgan.volume.checks import check_num_bytes
from medgan.volume.gzipped import damage_told, inflating

_CHUNK_BYTES = 1 << 22
_WRITTEN_BYTES = 1 << 24
_TURNED_ROWS = 8
_MOST_DIMS = 16
_MOST_SHOWN = 80
BLANKS = " \t\r\n"
"""What may surround a header field; `str.strip` alone takes the control characters of a damaged digit for more."""
_PLAIN = re.compile(r"[\t -~]*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Stored:
    """Where the voxels of a volume lie.

    Attributes:
        path: the file.
        start: its byte where they begin; None if they end with the file.
        encoding: how they are compressed.
        shape: their size, the fastest axis first.
        dtype: their type, with its byte order.
    """

    path: Path
    start: int | None
    encoding: Literal["raw", "gzip", "zlib"]
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def num_bytes(self) -> int:
        """How many bytes the voxels take, uncompressed."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def read_stored(stored: Stored) -> np.ndarray:
    """Return the voxels in native byte order, axes as in `stored.shape`.

    Raises:
        MedganError: if the file is too short for them, or fails its checksum.
    """
    path, size = stored.path, stored.path.stat().st_size
    start = max(0, size - stored.num_bytes) if stored.start is None else stored.start
    check_num_bytes(
        path, claimed=stored.num_bytes, available=max(0, size - start), is_compressed=stored.encoding != "raw"
    )
    with path.open("rb") as file, damage_told(path):
        file.seek(start)
        if stored.encoding == "gzip":
            with inflating(file) as stream:
                buffer = fill(path, chunks_of(stream), num_bytes=stored.num_bytes)
        else:
            chunks = chunks_of(file) if stored.encoding == "raw" else _zlib_chunks(file)
            buffer = fill(path, chunks, num_bytes=stored.num_bytes)
    return as_voxels(buffer, stored.dtype, stored.shape)


def as_voxels(buffer: np.ndarray, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> np.ndarray:
    """Return bytes as voxels in native byte order, the first axis fastest."""
    voxels: np.ndarray = buffer.view(dtype).reshape(shape, order="F")
    return voxels.astype(dtype.newbyteorder("="), copy=False)


def chunks_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what is left of a file in pieces."""
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


def fill(path: Path, chunks: Iterator[bytes], *, num_bytes: int, has_more: bool = False) -> np.ndarray:
    """Return the first `num_bytes` of `chunks`, uint8, once all of them are read: gzip has its checksum at the end.

    Args:
        path: names the file in messages.
        chunks: the voxels and all that follows them.
        num_bytes: what the voxels take.
        has_more: whether more may follow them; if not, that is told.

    Raises:
        MedganError: if there are fewer, or so many more that the header cannot be theirs.
    """
    buffer, found = np.empty(num_bytes, np.uint8), 0
    for chunk in chunks:
        part = np.frombuffer(chunk, np.uint8)[: max(0, num_bytes - found)]
        buffer[found : found + len(part)] = part
        found += len(chunk)
        if found > 2 * num_bytes + 4 * _CHUNK_BYTES:
            raise MedganError(
                f"{path} is too large for its header: over {found - num_bytes:,} bytes follow the last voxel."
            )
    check_num_bytes(path, claimed=num_bytes, available=found)
    if found > num_bytes and not has_more:
        warnings.warn(f"{path}: {found - num_bytes:,} bytes follow the last voxel and are ignored.", stacklevel=2)
    return buffer


def voxel_chunks(data: np.ndarray) -> Iterator[memoryview]:
    """Yield the bytes of an (I, J, K) array as files have them: little endian, i fastest."""
    little_endian = data.dtype.newbyteorder("<")
    num_slices = max(1, _WRITTEN_BYTES // data[:, :, :1].nbytes)
    for k in range(0, data.shape[2], num_slices):
        yield _in_file_order(data[:, :, k : k + num_slices].astype(little_endian, copy=False)).data.cast("B")


def _in_file_order(block: np.ndarray) -> np.ndarray:
    """Return an (I, J, K) block as a contiguous (K, J, I) one: as it is, where i is fastest in memory already."""
    turned = block.T
    if turned.flags.c_contiguous:
        return turned
    ordered = np.empty(turned.shape, turned.dtype)
    for j in range(0, turned.shape[1], _TURNED_ROWS):  # all at once, numpy runs over memory 8 times as long
        ordered[:, j : j + _TURNED_ROWS] = turned[:, j : j + _TURNED_ROWS]
    return ordered


def _zlib_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield what a zlib stream holds; it is read to its end marker and checksum, and nothing may follow it."""
    inflate = isal_zlib.decompressobj()
    while not inflate.eof:
        compressed = inflate.unconsumed_tail or file.read(_CHUNK_BYTES)
        chunk = inflate.decompress(compressed, _CHUNK_BYTES)
        if not compressed and not chunk:
            raise EOFError
        yield chunk


def data_file_of(path: Path, name: str) -> Path:
    """Return the file beside a header that it names for its voxels.

    Raises:
        MedganError: if it names another folder, several files, or none that is there.
    """
    data_path = path.parent / name
    is_plain = name.isprintable() and Path(name).name == name and "\\" not in name
    if not (is_plain and data_path.is_file()):
        raise MedganError(f"{path} must name one data file in its own folder, but names none that is there.")
    return data_path


def numbers_of(text: str, *, separator: str | None = None) -> tuple[float, ...]:
    """Return the finite numbers of a header field, none if it holds anything else."""
    parts = [part.strip() for part in text.split(separator)]
    numbers = tuple(float(part) if _NUMBER.fullmatch(part) else math.nan for part in parts)
    return numbers if _PLAIN.fullmatch(text) and all(map(math.isfinite, numbers)) else ()


def count_of(text: str) -> int | None:
    """Return the whole number, 0 or more, that a header field is; None if it is anything else."""
    return int(text) if _COUNT.fullmatch(text) else None


def sizes_of(text: str) -> tuple[int, ...]:
    """Return the sizes of a header field, none if one is not a whole number above zero, or there are too many."""
    counts = [count_of(part) or 0 for part in text.split()]
    return tuple(counts) if _PLAIN.fullmatch(text) and all(counts) and len(counts) <= _MOST_DIMS else ()


def shown(text: str, known: Collection[str] = ()) -> str:
    """Return a header field as a message may show it: in its own words only if all are known, or numbers.

    Headers are copied around with whatever text their owners put there, names of patients among it.
    """
    if not text:
        return "none"
    is_harmless = text in known or (numbers_of(text) and len(text) <= _MOST_SHOWN)
    return " ".join(text.split()) if is_harmless else "something else"
