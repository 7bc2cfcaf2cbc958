"""A zip of DICOM files, taken apart in a temporary folder without trusting a word of it."""

import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from medgan.errors import MedganError
from medgan.volume.dicom.files import is_named_as_dicom, looks_like_dicom, printable

_CHUNK_BYTES = 1 << 18
_HEAD_BYTES = 144
_MAX_DIRECTORY_BYTES = 12 << 20  # some 100,000 members; each takes memory before it can be looked at
_MAX_MEMBER_BYTES = 2**32
_MAX_TOTAL_BYTES = 2**36
_SUSPECT_BYTES = 2**27  # from here on, what inflates more than images do is a bomb
_MOST_IMAGES_EXPAND = 100


def is_archive(path: Path) -> bool:
    """Return whether a path is a zip (and not a DICOM file that begins like one)."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return (head[:4] in (b"PK\x03\x04", b"PK\x05\x06") or path.suffix.lower() == ".zip") and head[128:132] != b"DICM"


@contextmanager
def extracted(path: Path) -> Iterator[Path]:
    """Yield a temporary folder with the DICOM files of a zip under their names; it is removed when the block ends.

    Hidden members, nested archives and what is not DICOM are not taken out. Checksums are verified.

    Raises:
        MedganError: if a member's name leads out of the folder, is a link or comes twice; if the zip is encrypted,
            damaged, packed by an unknown method, or inflates without measure.
    """
    with tempfile.TemporaryDirectory(prefix="medgan-") as name:
        _extract_safely(path, Path(name))
        yield Path(name)


def _extract_safely(path: Path, folder: Path) -> None:
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            _check_sizes(path, members, folder)
            for member in members:
                _extract(path, archive, member, folder)
    except (zipfile.BadZipFile, ValueError, struct.error) as error:
        raise MedganError(f"{path} is a damaged zip, or of a kind that cannot be read; copy it again.") from error
    except OSError as error:
        raise MedganError(f"{path} could not be unpacked: {error.strerror or type(error).__name__}.") from error


def _check_directory(path: Path) -> None:
    """Refuse a zip with more members than memory is worth, before `zipfile` makes an object of each."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 22 - 20 - 0xFFFF))
        tail = file.read()
        end = tail.rfind(b"PK\x05\x06")
        if end < 0 or end + 22 > len(tail):
            raise MedganError(f"{path} is no zip, or is truncated: its directory is missing; copy it again.")
        num_bytes = struct.unpack_from("<I", tail, end + 12)[0]
        if end >= 20 and tail[end - 20 : end - 16] == b"PK\x06\x07":
            file.seek(struct.unpack_from("<Q", tail, end - 12)[0])
            num_bytes = struct.unpack_from("<Q", file.read(48), 40)[0]
    if num_bytes > _MAX_DIRECTORY_BYTES:
        raise MedganError(f"{path} is too large: it has too many files for one zip; unpack it, and give the folder.")


def _members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members worth a look, once all names are found safe."""
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        member.filename = member.filename.replace("\\", "/")  # as some Windows programs part folders
        name, shown = PurePosixPath(member.filename), printable(member.filename)
        if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", member.filename):
            raise MedganError(
                f"{path} must hold its files inside its own folder, but the path of a file leads out of it."
            )
        if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in name.parts):
            continue
        if stat.S_ISLNK(member.external_attr >> 16):
            raise MedganError(f"{path}: {shown} is a link, which a zip of images must not hold; remove it.")
        if member.flag_bits & 1:
            raise MedganError(f"{path} is encrypted; unpack it with its password, and give the folder.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others inflate without measure
            raise MedganError(f"{path}: {shown} is packed by a method other than deflate; unpack it, give the folder.")
        if name in found:
            raise MedganError(f"{path}: {shown} is there twice under one name; pack it again.")
        found[name] = member
    return list(found.values())


def _check_sizes(path: Path, members: Sequence[zipfile.ZipInfo], folder: Path) -> None:
    total = sum(member.file_size for member in members)
    largest = max(members, key=lambda member: member.file_size, default=None)
    if largest is not None and (
        total > _MAX_TOTAL_BYTES
        or largest.file_size > _MAX_MEMBER_BYTES
        or _is_bomb(total, sum(member.compress_size for member in members))
        or any(_is_bomb(member.file_size, member.compress_size) for member in members)
    ):
        raise MedganError(
            f"{path} is too large: its {len(members)} files would inflate to {total:,} bytes, the largest to "
            f"{largest.file_size:,}; unpack it, and give the folder."
        )
    if total > shutil.disk_usage(folder).free:
        raise MedganError(f"{path} needs {total:,} bytes of temporary space, more than is free; unpack it elsewhere.")


def _is_bomb(inflated: int, packed: int) -> bool:
    return inflated > _SUSPECT_BYTES and inflated > _MOST_IMAGES_EXPAND * packed


def _extract(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member under its own name if it is DICOM, reading to its end for the checksum.

    `zipfile` never gives more than the size a member claims, which `_check_sizes` has found bearable.
    """
    shown = f"{path}: {printable(member.filename)}"
    try:
        with archive.open(member) as source:
            head = source.read(_HEAD_BYTES)
            if not (looks_like_dicom(head) or is_named_as_dicom(member.filename)):
                return
            target = folder / member.filename
            if not target.resolve().is_relative_to(folder.resolve()):
                raise MedganError(f"{shown} leads out of the zip's own folder.")
            target.parent.mkdir(parents=True, exist_ok=True)
            num_bytes = len(head)
            with target.open("xb") as file:
                file.write(head)
                while chunk := source.read(_CHUNK_BYTES):
                    num_bytes += len(chunk)
                    file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise MedganError(f"{shown} is damaged: it fails its checksum or is truncated; copy the zip again.") from error
    if num_bytes != member.file_size:
        raise MedganError(f"{shown} is truncated: {member.file_size:,} bytes expected, found {num_bytes:,}.")
