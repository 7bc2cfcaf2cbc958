"""MetaImage: .mha, and .mhd with the voxels in a file beside it.

Read and written here and not by ITK, which takes a missing orientation for the identity, skips no HeaderSize, gives
back whatever memory holds where compressed voxels are damaged or have no CompressedDataSize, and sees no full disk.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from isal import isal_zlib

from medgan.errors import MedganError
from medgan.volume.affine import affine_from_parts, lps_to_ras
from medgan.volume.checks import MAX_VOXELS, check_num_voxels, volume_at
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
_SIZE_DIGITS = 15
_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # as ITK writes and reads it on every system
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_OTHER_KINDS = {*(f"{kind}_ARRAY" for kind in _DTYPES), "MET_STRING", "MET_FLOAT_MATRIX", "MET_OTHER", "MET_NONE"}
_UNITS = {"um", "cm", "m", "in"}
_BYTE_ORDERS = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_GEOMETRY = {  # each under the names MetaImage has for it
    "TransformMatrix": ("transformmatrix", "rotation", "orientation"),
    "Offset": ("offset", "position", "origin"),
    "ElementSpacing": ("elementspacing", "elementsize"),
}


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return a scalar 2D or 3D image in its stored type; a 2D one has K = 1, and where it records none, a nominal 1 mm.

    Raises:
        MedganError: if the file is truncated or corrupt, has channels or time points, records no orientation, keeps
            its voxels outside its own folder, or claims more than `max_voxels`.
    """
    path = Path(path)
    fields, start = _read_header(path)
    shape = _shape_of(path, fields, max_voxels=max_voxels)
    affine = _affine_of(path, fields, num_dims=len(shape))
    _check_values(path, fields)
    data = read_stored(_stored_of(path, fields, start, shape))
    return volume_at(path, data.reshape((1, *shape, 1)[:4]), lps_to_ras(affine))


def write(volume: Volume, file: BinaryIO) -> None:
    """Write the one channel of a volume to a seekable file, compressed."""
    affine = lps_to_ras(volume.affine)
    kind = next(name for name, dtype in _DTYPES.items() if np.dtype(dtype) == volume.data.dtype.newbyteorder("="))
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": "0" * _SIZE_DIGITS,
        "TransformMatrix": _text((affine[:3, :3] / volume.spacing_mm).T.ravel()),  # its rows are the axes
        "Offset": _text(affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _text(volume.spacing_mm),
        "DimSize": " ".join(map(str, volume.shape)),
        "ElementType": kind,
        "ElementDataFile": "LOCAL",
    }
    header = "".join(f"{name} = {value}\n" for name, value in lines.items()).encode()
    file.write(header)
    compressor, size = isal_zlib.compressobj(1), 0
    for chunk in voxel_chunks(volume.data[0]):
        size += file.write(compressor.compress(chunk))
    size += file.write(compressor.flush())
    file.seek(header.index(b"CompressedDataSize = ") + len(b"CompressedDataSize = "))
    file.write(f"{size:0{_SIZE_DIGITS}d}".encode())  # ITK does not inflate without it


def _text(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def _read_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields, names in lower case, and the byte behind them."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while file.tell() < _MAX_HEADER_BYTES and (line := file.readline(_MAX_HEADER_BYTES)):
            name, separator, value = line.decode("latin-1").partition("=")
            if not separator:
                break
            name = name.strip(BLANKS).lower()
            if name in fields and name != "comment":
                raise MedganError(f"{path} has a damaged header: it records one field twice; export it again.")
            fields[name] = value.strip(BLANKS)
            if name == "elementdatafile":
                return fields, file.tell()
    raise MedganError(f"{path} is not a MetaImage file, or its header is truncated; check what it is.")


def _shape_of(path: Path, fields: Mapping[str, str], *, max_voxels: int) -> tuple[int, ...]:
    shape = sizes_of(fields.get("dimsize", ""))
    if not shape or sizes_of(fields.get("ndims", "")) != (len(shape),):
        raise MedganError(
            f"{path} has a damaged header: DimSize must give NDims positive sizes, found "
            f"{shown(fields.get('dimsize', ''))} and {shown(fields.get('ndims', ''))}; export it again."
        )
    num_channels = fields.get("elementnumberofchannels", "1")
    if num_channels != "1":
        raise MedganError(
            f"{path} must hold one real number per voxel, but has {shown(num_channels)} channels; "
            "save the channel you want as a file of its own."
        )
    if len(shape) not in (2, 3):
        raise MedganError(
            f"{path} must be one 3D volume, but has the {len(shape)}D shape {shape}; "
            "save the time point or channel you want as a file of its own."
        )
    check_num_voxels(path, shape, max_voxels=max_voxels)
    return shape


def _affine_of(path: Path, fields: Mapping[str, str], *, num_dims: int) -> np.ndarray:
    """Return the LPS affine."""
    parts = {"TransformMatrix": np.eye(3), "Offset": np.zeros(3), "ElementSpacing": np.ones(3)}
    for what, names in _GEOMETRY.items():
        texts = {fields[name] for name in names if name in fields}
        if not texts and num_dims == 2:
            continue  # a plain 2D image records no place in the patient
        if len(texts) != 1:
            raise MedganError(
                f"{path} must record its {what} once, or its place in the patient is unknown; export it again."
            )
        text = texts.pop()
        found, count = numbers_of(text), num_dims ** (2 if what == "TransformMatrix" else 1)
        if len(found) != count:
            raise MedganError(
                f"{path} has a damaged header: {what} must hold {count} finite numbers, found {shown(text)}."
            )
        if what == "TransformMatrix":  # its rows are the axes
            parts[what][:num_dims, :num_dims] = np.reshape(found, (num_dims, num_dims)).T
        else:
            parts[what][:num_dims] = found
    if (unit := fields.get("distanceunits", "mm")) not in ("mm", "?"):
        raise MedganError(f"{path} must be in mm, found DistanceUnits {shown(unit, _UNITS)}; export it again.")
    return affine_from_parts(parts["Offset"].tolist(), parts["TransformMatrix"], parts["ElementSpacing"].tolist())


def _check_values(path: Path, fields: Mapping[str, str]) -> None:
    kind = fields.get("elementtype", "")
    if kind not in _DTYPES:
        raise MedganError(
            f"{path} must hold one real number per voxel, but its data type is {shown(kind, _OTHER_KINDS)}."
        )
    if not _is_true(path, fields, "BinaryData", default="True"):
        raise MedganError(f"{path} must hold binary voxels, found BinaryData = False; save it again in binary.")
    for name, neutral in (("Slope", 1.0), ("Offset", 0.0)):
        text = fields.get(f"elementtointensityfunction{name.lower()}", str(neutral))
        if numbers_of(text) != (neutral,):
            raise MedganError(
                f"{path} scales its values by ElementToIntensityFunction{name} = {shown(text)}, which programs read "
                "differently; export it with the values themselves."
            )


def _stored_of(path: Path, fields: Mapping[str, str], start: int, shape: tuple[int, ...]) -> Stored:
    name = fields["elementdatafile"]
    is_local = name.upper() == "LOCAL"
    dtype = _DTYPES[fields["elementtype"]]
    orders = {_is_true(path, fields, name) for name in _BYTE_ORDERS if name.lower() in fields}
    if len(orders) != 1 and not (dtype.endswith("1") and not orders):
        raise MedganError(f"{path} must record its byte order once ({_BYTE_ORDERS[0]}); export it again.")
    skipped = fields.get("headersize", "0")
    num_skipped = None if skipped == "-1" else count_of(skipped)
    if (is_local and skipped not in ("0", "-1")) or not (skipped == "-1" or num_skipped is not None):
        raise MedganError(f"{path} has a damaged header: HeaderSize, {shown(skipped)}, does not fit its data file.")
    return Stored(
        path if is_local else data_file_of(path, name),
        start if is_local else num_skipped,
        "zlib" if _is_true(path, fields, "CompressedData") else "raw",
        shape,
        np.dtype((">" if True in orders else "<") + dtype),
    )


def _is_true(path: Path, fields: Mapping[str, str], name: str, *, default: str = "False") -> bool:
    text = fields.get(name.lower(), default).lower()
    if text not in ("true", "t", "1", "false", "f", "0"):
        raise MedganError(f"{path} has a damaged header: {name} must be True or False.")
    return text[0] in "t1"
