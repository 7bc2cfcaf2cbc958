"""NRRD: .nrrd, and .nhdr with the voxels in a file beside it.

Read here and not by ITK, which takes a missing origin for 0, a missing direction for 1 mm, and any space it does not
know for LPS. The format is defined at https://teem.sourceforge.net/nrrd/format.html.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

import numpy as np

from medgan.errors import MedganError
from medgan.volume.affine import lps_to_ras
from medgan.volume.checks import MAX_VOXELS, check_num_voxels, volume_at
from medgan.volume.gzipped import compressing
from medgan.volume.stored import (
    BLANKS,
    Stored,
    count_of,
    data_file_of,
    numbers_of,
    read_stored,
    shown,
    sizes_of,
    voxel_chunks,
)
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
_OTHER_SPACES = {
    *(f"{space}-time" for space in _TO_RAS),
    *(f"{kind}{time}" for kind in ("scanner-xyz", "3d-right-handed", "3d-left-handed") for time in ("", "-time")),
}
_OTHER_ENCODINGS = {"hex", "txt", "text", "ascii", "bz2", "bzip2"}
_OTHER_NAMES = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"}
_FIELDS = {
    *("dimension", "type", "block size", "blocksize", "encoding", "endian", "content", "min", "max", "number"),
    *("old min", "oldmin", "old max", "oldmax", "data file", "line skip", "byte skip", "sample units", "sampleunits"),
    *("sizes", "spacings", "thicknesses", "axis mins", "axismins", "axis maxs", "axismaxs", "centers", "centerings"),
    *("labels", "units", "kinds", "space", "space dimension", "space units", "space origin", "space directions"),
    "measurement frame",
}
_ESCAPED = re.compile(r"\\([n\\])")  # in the value of a free key
_VECTOR = re.compile(r"\([^()]*\)")
_DIRECTION = re.compile(rf"none|{_VECTOR.pattern}")
_SPATIAL_KINDS = {"domain", "space", "???", "none"}
_ABBREVIATIONS = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior"}


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return a scalar 2D or 3D image in its stored type; a 2D one has K = 1 and a nominal place and 1 mm along k.

    Raises:
        MedganError: if the file is truncated or corrupt, has channels or time points, records no orientation, keeps
            its voxels outside its own folder, or claims more than `max_voxels`.
    """
    path = Path(path)
    fields, _, start = read_header(path)
    sizes = grid_sizes(path, fields, max_voxels=max_voxels)
    directions = directions_of(fields, len(sizes))
    shape = _shape_of(path, fields, sizes, directions)
    affine = affine_of(path, fields, [vector for vector in directions if vector is not None])
    stored = stored_of(path, fields, start, shape)
    return volume_at(path, read_stored(stored).reshape((1, *shape, 1)[:4]), affine)


def write(volume: Volume, file: BinaryIO, *, keys: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write the one channel of a volume to a file, compressed, with free keys in its header."""
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
        *(f"{key}:={_escaped(value)}" for key, value in keys.items()),
    )
    file.write(("\n".join(lines) + "\n\n").encode())
    with compressing(file) as compressed:
        for chunk in voxel_chunks(volume.data[0]):
            compressed.write(chunk)


class Header(NamedTuple):
    """The fields of a header, names in lower case, its free keys (`key:=value`), and the byte behind it."""

    fields: dict[str, str]
    keys: dict[str, str]
    start: int


def read_header(path: Path) -> Header:
    """Return the header of a file.

    Raises:
        MedganError: if it is no NRRD file, a line is no field of NRRD, or a field is recorded twice.
    """
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    with path.open("rb") as file:
        is_nrrd = re.match(rb"NRRD000\d\r?\n", file.readline(16)) is not None
        while is_nrrd and file.tell() < _MAX_HEADER_BYTES and (line := file.readline(_MAX_HEADER_BYTES)):
            if not line.strip(b"\r\n"):
                return Header(fields, keys, file.tell())
            name, separator, value = line.decode("utf-8", errors="replace").partition(":")
            if name.startswith("#"):
                continue
            if value.startswith("="):
                keys[name] = _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else "\\", value[1:].strip())
                continue
            name = _OTHER_NAMES.get(name.strip(BLANKS).lower(), name.strip(BLANKS).lower())
            if name not in _FIELDS or not separator or name in fields:
                raise MedganError(
                    f"{path} has a damaged or truncated header: its lines must be fields of NRRD, each recorded once; "
                    "export it again."
                )
            fields[name] = value.strip(BLANKS)
        if "data file" in fields:  # a detached header may end without an empty line
            return Header(fields, keys, file.tell())
    raise MedganError(f"{path} is not an NRRD file, or its header is truncated; check what it is.")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def grid_sizes(path: Path, fields: Mapping[str, str], *, max_voxels: int) -> tuple[int, ...]:
    """Return the size of every axis."""
    shape = sizes_of(fields.get("sizes", ""))
    if not shape or sizes_of(fields.get("dimension", "")) != (len(shape),):
        raise MedganError(
            f"{path} has a damaged header: sizes must give dimension positive numbers, found "
            f"{shown(fields.get('sizes', ''))} and {shown(fields.get('dimension', ''))}; export it again."
        )
    check_num_voxels(path, shape, max_voxels=max_voxels)
    return shape


def directions_of(fields: Mapping[str, str], num_dims: int) -> list[tuple[float, ...] | None]:
    """Return the vector of every axis, None for one that is not in space; all None where the header has none.

    There are none at all where something else stands between them.
    """
    if (directions := fields.get("space directions")) is None:
        return [None] * num_dims
    if _DIRECTION.sub("", directions).strip(BLANKS):
        return []
    return [None if text == "none" else _vector_of(text) for text in _DIRECTION.findall(directions)]


def _vector_of(text: str) -> tuple[float, ...]:
    """Return the numbers of "(1,2,3)", none if it is anything else."""
    return numbers_of(text[1:-1], separator=",") if _VECTOR.fullmatch(text) else ()


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
        vector is not None and kind not in _SPATIAL_KINDS for kind, vector in zip(kinds, directions, strict=True)
    ):
        raise MedganError(f"{path} must have axes in space only, but its kinds say otherwise; export it again.")
    return in_space


def affine_of(path: Path, fields: Mapping[str, str], vectors: list[tuple[float, ...]]) -> np.ndarray:
    """Return the RAS+ affine."""
    units = re.findall(r'"([^"]*)"|(\S+)', fields.get("space units", ""))
    if any((quoted or bare) not in ("mm", "millimeter", "millimetre") for quoted, bare in units):
        raise MedganError(f"{path} must be in mm, but its space units say otherwise; export it again.")
    if len(vectors) != 3 and all(len(vector) == 2 for vector in vectors):
        return _flat_affine(path, fields, vectors)
    space = fields.get("space", "").lower()
    to_ras = _TO_RAS.get(_ABBREVIATIONS.get(space, space))
    if to_ras is None:
        raise MedganError(
            f"{path} must record its orientation in a space such as left-posterior-superior, "
            f"found {shown(space, _OTHER_SPACES)}; export it again."
        )
    origin = _vector_of(fields.get("space origin", ""))
    if not all(len(vector) == 3 for vector in (*vectors, origin)):
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
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers; `volume_at` refuses what they give
        placed: np.ndarray = to_ras @ affine
    return placed


def _flat_affine(path: Path, fields: Mapping[str, str], vectors: list[tuple[float, ...]]) -> np.ndarray:
    """Return a nominal affine for a plain 2D image, ITK's: columns run to the left, rows to the back."""
    affine = np.eye(4)
    origin = _vector_of(fields.get("space origin", "(0,0)"))
    spacings = numbers_of(fields.get("spacings", "1 1"))
    if len(origin) != 2 or len(spacings) != 2:
        raise MedganError(f"{path} must have two finite numbers each in space origin and spacings; export it again.")
    affine[:2, :2] = np.transpose(vectors) if vectors else np.diag(spacings)
    affine[:2, 3] = origin
    return lps_to_ras(affine)


def stored_of(path: Path, fields: Mapping[str, str], start: int, shape: tuple[int, ...]) -> Stored:
    """Return where and how the voxels are stored."""
    kind, encoding = fields.get("type", "").lower(), fields.get("encoding", "").lower()
    if kind not in _DTYPES:
        raise MedganError(f"{path} must hold one real number per voxel, but its data type is {shown(kind, {'block'})}.")
    if encoding not in ("raw", "gzip", "gz"):
        raise MedganError(
            f"{path} must be encoded as raw or gzip, found {shown(encoding, _OTHER_ENCODINGS)}; save it again as one "
            "of them."
        )
    dtype, order = _DTYPES[kind], {"big": ">", "little": "<"}.get(fields.get("endian", "").lower(), "")
    if not (order or dtype.endswith("1")):
        raise MedganError(f"{path} must record its byte order (endian: little or big); export it again.")
    name, is_raw = fields.get("data file"), encoding == "raw"
    skipped, lines = fields.get("byte skip", "0"), fields.get("line skip", "0")
    num_skipped = count_of(skipped)
    if lines != "0" or not (skipped == "0" or (is_raw and (skipped == "-1" or num_skipped is not None))):
        raise MedganError(f"{path} skips lines or compressed bytes before its voxels: not supported; save it again.")
    first = 0 if name is not None else start
    return Stored(
        path if name is None else data_file_of(path, name),
        None if num_skipped is None else first + num_skipped,
        "raw" if is_raw else "gzip",
        shape,
        np.dtype(order + dtype),
    )
