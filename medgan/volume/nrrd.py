"""NRRD: .nrrd, and .nhdr with the voxels in a file beside it.

Read here and not by ITK, which takes a missing origin for 0, a missing direction for 1 mm, and any space it does not
know for LPS. The format is defined at https://teem.sourceforge.net/nrrd/format.html.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medgan.errors import MedganError
from medgan.volume.affine import lps_to_ras
from medgan.volume.checks import MAX_VOXELS, check_num_voxels, volume_at
from medgan.volume.gzipped import compressing
from medgan.volume.stored import Stored, data_file_of, numbers_of, read_stored, sizes_of, voxel_chunks
from medgan.volume.volume import Volume

_MAX_HEADER_BYTES = 1 << 20
_DTYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"), "i8"
    ),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_TO_RAS = {  # what turns a space into RAS+
    "right-anterior-superior": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "left-posterior-superior": lps_to_ras(np.eye(4)),
}
_ABBREVIATIONS = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior"}


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return a scalar 2D or 3D image in its stored type; a 2D one has K = 1 and a nominal place and 1 mm along k.

    Raises:
        MedganError: if the file is truncated or corrupt, has channels or time points, records no orientation, keeps
            its voxels outside its own folder, or claims more than `max_voxels`.
    """
    path = Path(path)
    fields, start = _read_header(path)
    sizes = _sizes_of(path, fields, max_voxels=max_voxels)
    directions = _directions_of(fields, len(sizes))
    shape = _shape_of(path, fields, sizes, directions)
    affine = _affine_of(path, fields, [vector for vector in directions if vector is not None])
    stored = _stored_of(path, fields, start, shape)
    return volume_at(path, read_stored(stored).reshape((1, *shape, 1)[:4]), affine)


def write(volume: Volume, file: BinaryIO) -> None:
    """Write the one channel of a volume to a file, compressed."""
    affine = lps_to_ras(volume.affine)
    kind = next(name for name, dtype in _DTYPES.items() if np.dtype(dtype) == volume.data.dtype.newbyteorder("="))
    vectors = [f"({','.join(repr(float(x)) for x in column)})" for column in affine[:3].T]
    lines = (
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, volume.shape))}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    )
    file.write(("\n".join(lines) + "\n\n").encode())
    with compressing(file) as compressed:
        for chunk in voxel_chunks(volume.data[0]):
            compressed.write(chunk)


def _read_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields, names in lower case, and the byte behind them; free keys (`key:=value`) are passed over."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        is_nrrd = re.match(rb"NRRD000\d\r?\n", file.readline(16)) is not None
        while is_nrrd and file.tell() < _MAX_HEADER_BYTES and (line := file.readline(_MAX_HEADER_BYTES)):
            if not line.strip():
                return fields, file.tell()
            name, separator, value = line.decode("latin-1").partition(":")
            if separator and not value.startswith("=") and not name.startswith("#"):
                fields[name.strip().lower()] = value.strip()
        if "data file" in fields or "datafile" in fields:  # a detached header may end without an empty line
            return fields, file.tell()
    raise MedganError(f"{path} is not an NRRD file, or its header is truncated; check what it is.")


def _sizes_of(path: Path, fields: Mapping[str, str], *, max_voxels: int) -> tuple[int, ...]:
    shape = sizes_of(fields.get("sizes", ""))
    if not shape or sizes_of(fields.get("dimension", "")) != (len(shape),):
        raise MedganError(
            f"{path} has a damaged header: sizes must give dimension positive numbers, found "
            f"{fields.get('sizes', 'none')[:80]!r} and {fields.get('dimension', 'none')[:20]!r}; export it again."
        )
    check_num_voxels(path, shape, max_voxels=max_voxels)
    return shape


def _directions_of(fields: Mapping[str, str], num_dims: int) -> list[tuple[float, ...] | None]:
    """Return the vector of every axis, None for one that is not in space; all None where the header has none."""
    vectors = [
        None if text == "none" else numbers_of(text.strip("()").replace(",", " "))
        for text in re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    ]
    return vectors if vectors else [None] * num_dims


def _shape_of(
    path: Path,
    fields: Mapping[str, str],
    sizes: tuple[int, ...],
    directions: list[tuple[float, ...] | None],
) -> tuple[int, ...]:
    """Return the sizes of the axes in space; the other ones may hold one value only."""
    if len(directions) != len(sizes):
        raise MedganError(
            f"{path} has a damaged header: {len(sizes)} axes need as many space directions, found {len(directions)}."
        )
    if len(sizes) == 2 and directions == [None, None]:
        return sizes
    in_space = tuple(size for size, vector in zip(sizes, directions, strict=True) if vector is not None)
    others = [size for size, vector in zip(sizes, directions, strict=True) if vector is None]
    if len(in_space) in (2, 3) and any(size > 1 for size in others):
        raise MedganError(
            f"{path} must hold one real number per voxel, but has {math.prod(others)} channels; "
            "save the channel you want as a file of its own."
        )
    if len(in_space) not in (2, 3):
        if not in_space:
            raise MedganError(f"{path} records no orientation (it has no space directions); export it again.")
        raise MedganError(
            f"{path} must be one 3D volume, but has the {len(sizes)}D shape {sizes}; "
            "save the time point or channel you want as a file of its own."
        )
    kinds = fields.get("kinds", " ".join(["domain"] * len(sizes))).lower().split()
    if len(kinds) != len(sizes) or any(
        vector is not None and kind not in ("domain", "space", "???", "none")
        for kind, vector in zip(kinds, directions, strict=True)
    ):
        raise MedganError(f"{path} must have axes in space only, but is of the kinds {fields['kinds'][:80]!r}.")
    return in_space


def _affine_of(path: Path, fields: Mapping[str, str], vectors: list[tuple[float, ...]]) -> np.ndarray:
    """Return the RAS+ affine."""
    units = re.findall(r'"([^"]*)"|(\S+)', fields.get("space units", ""))
    if any((quoted or bare) not in ("mm", "millimeter", "millimetre") for quoted, bare in units):
        raise MedganError(f"{path} must be in mm, found space units {fields['space units'][:80]}; export it again.")
    if len(vectors) != 3 and all(len(vector) == 2 for vector in vectors):
        return _flat_affine(fields, vectors)
    space = fields.get("space", "none").lower()
    to_ras = _TO_RAS.get(_ABBREVIATIONS.get(space, space))
    if to_ras is None:
        raise MedganError(
            f"{path} must record its orientation in a space such as left-posterior-superior, "
            f"found {space[:40]!r}; export it again."
        )
    origin = numbers_of(fields.get("space origin", "").strip("()").replace(",", " "))
    if not all(len(vector) == 3 and all(map(math.isfinite, vector)) for vector in (*vectors, origin)):
        raise MedganError(
            f"{path} must record a space origin and space directions of three finite numbers each, or its place in the "
            "patient is unknown; export it again."
        )
    if len(vectors) == 2:
        raise MedganError(
            f"{path} is one slice in the patient without a thickness; save it as a 3D volume of one slice."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.transpose(vectors)
    affine[:3, 3] = origin
    placed: np.ndarray = to_ras @ affine
    return placed


def _flat_affine(fields: Mapping[str, str], vectors: list[tuple[float, ...]]) -> np.ndarray:
    """Return a nominal affine for a plain 2D image, ITK's: columns run to the left, rows to the back."""
    affine = np.eye(4)
    origin = numbers_of(fields.get("space origin", "").strip("()").replace(",", " "))
    spacings = numbers_of(fields.get("spacings", ""))
    if vectors:
        affine[:2, :2] = np.transpose(vectors)
    elif len(spacings) == 2 and all(map(math.isfinite, spacings)):
        affine[0, 0], affine[1, 1] = spacings
    if len(origin) == 2:
        affine[:2, 3] = origin
    return lps_to_ras(affine)


def _stored_of(path: Path, fields: Mapping[str, str], start: int, shape: tuple[int, ...]) -> Stored:
    kind, encoding = fields.get("type", "none").lower(), fields.get("encoding", "none").lower()
    if kind not in _DTYPES:
        raise MedganError(f"{path} must hold one real number per voxel, but its data type is {kind[:40]}.")
    if encoding not in ("raw", "gzip", "gz"):
        raise MedganError(
            f"{path} must be encoded as raw or gzip, found {encoding[:40]!r}; save it again as one of them."
        )
    dtype, order = _DTYPES[kind], {"big": ">", "little": "<"}.get(fields.get("endian", "").lower(), "")
    if not (order or dtype.endswith("1")):
        raise MedganError(f"{path} must record its byte order (endian: little or big); export it again.")
    name = fields.get("data file", fields.get("datafile"))
    skipped = fields.get("byte skip", fields.get("byteskip", "0"))
    is_raw, lines = encoding == "raw", fields.get("line skip", fields.get("lineskip", "0"))
    if lines != "0" or not (skipped == "0" or (is_raw and (skipped == "-1" or skipped.isdecimal()))):
        raise MedganError(f"{path} skips lines or compressed bytes before its voxels: not supported; save it again.")
    first = 0 if name is not None else start
    return Stored(
        path if name is None else data_file_of(path, name),
        None if skipped == "-1" else first + int(skipped),
        "raw" if is_raw else "gzip",
        shape,
        np.dtype(order + dtype),
    )
