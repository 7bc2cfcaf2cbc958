"""gzip through ISA-L: read to the end, so that the checksum is seen, and written fast."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isal import igzip, igzip_lib

from medgan.errors import MedganError

_MAGIC = b"\x1f\x8b"
_LEVEL = 1  # of ISA-L's 0 to 3
_DAMAGE: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, igzip_lib.IsalError)  # type: ignore[assignment]


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """Yield the (decompressed) bytes of a file and whether they were compressed; content decides, not the name.

    Raises:
        MedganError: if the file is empty, or what is read within the block is truncated or fails its checksum.
    """
    if path.stat().st_size == 0:
        raise MedganError(f"{path} is empty (0 bytes); copy or download it again.")
    with path.open("rb") as raw, damage_told(path):
        is_compressed = raw.read(2) == _MAGIC
        raw.seek(0)
        if is_compressed:
            with inflating(raw) as stream:
                yield stream, True
        else:
            yield raw, False


@contextmanager
def inflating(raw: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the decompressed bytes of a file from where it stands, all members of it."""
    with igzip.IGzipFile(fileobj=raw, mode="rb") as stream:
        yield stream


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what decompressing raises on damaged bytes into a `MedganError` that names the file."""
    try:
        yield
    except _DAMAGE as error:
        raise MedganError(f"{path} is truncated or corrupt ({_reason(error)}); copy or download it again.") from error


@contextmanager
def compressing(raw: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a file whose bytes go to `raw` compressed; equal bytes give equal files on one kind of processor."""
    with igzip.IGzipFile(filename="", fileobj=raw, mode="wb", compresslevel=_LEVEL, mtime=0) as stream:
        yield stream


def _reason(error: Exception) -> str:
    """Return what gzip has to say; its messages hold no content of the file."""
    return " ".join(str(error).split()).rstrip(".") or "unexpected end of file"
