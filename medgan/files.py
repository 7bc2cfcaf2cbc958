"""Writing so that a reader never sees half a file, and hashing what was read."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medgan.errors import MedganError


@contextmanager
def atomic_path(path: str | Path, *, is_private: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder that becomes `path` when the block ends well.

    The file is flushed to disk before it takes its name (`os.replace`); on any exception it is removed and an
    existing `path` is left as it was. The temporary name keeps the suffixes of `path`, for writers that go by them.

    Args:
        path: the file to be.
        is_private: only its owner may read it (mode 0600).

    Raises:
        MedganError: if the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", suffix="".join(path.suffixes[-2:]), dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o600 if is_private else 0o666 & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise MedganError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_folder(folder: str | Path, *, files: Sequence[str] = (), folders: Sequence[str] = ()) -> None:
    """Check that results could be written into a folder, before the work they take; it need not be there yet.

    Args:
        folder: of the results.
        files: names of files to be written there; those that are there already are replaced.
        folders: names of folders to be filled there, which may be no links.

    Raises:
        MedganError: if something is in the way, or may not be written to.
    """
    if not str(folder):
        raise MedganError("the folder of the results must have a name, found an empty one.")
    folder = Path(folder)
    try:
        for place in (folder, *(folder / name for name in folders)):
            _check_writable(place)
        for path in (folder / name for name in folders):
            if path.is_symlink():
                raise MedganError(f"{path}: is a link, behind which nothing is to be replaced; remove it.")
        for path in (folder / name for name in files):
            if path.is_dir():
                raise MedganError(f"{path}: is a folder where a file is to be written; remove or rename it.")
    except (OSError, ValueError) as error:  # a name too long, a null character in it
        raise MedganError(f"{folder} cannot hold results: {getattr(error, 'strerror', None) or error}.") from error


def write_text(path: str | Path, text: str, *, is_private: bool = False) -> None:
    """Write `text` to `path` as UTF-8, atomically; `is_private` as in `atomic_path`."""
    with atomic_path(path, is_private=is_private) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def write_json(path: str | Path, value: object) -> None:
    """Write `value` to `path` as indented JSON, atomically; NaN and infinities become null, as JSON has none."""
    write_text(path, json.dumps(_json_ready(value), indent=2, allow_nan=False) + "\n")


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, or of all files of a folder (relative names and bytes, sorted).

    Raises:
        MedganError: if it cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise MedganError(f"{path} could not be read: {error.strerror or error}.") from error
    digest = hashlib.sha256()
    for member in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{member.relative_to(path)}\0{sha256_of(member)}\n".encode())
    return digest.hexdigest()


def _check_writable(folder: Path) -> None:
    """Raise `MedganError` unless a folder, or the first of those above it that is there, may be written to."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise MedganError(f"{folder}: cannot be a folder for results, as {there} is none; choose another.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise MedganError(f"{folder}: cannot hold results, as {there} may not be written to; choose another folder.")


def _json_ready(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened for syncing there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
