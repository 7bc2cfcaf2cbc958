"""NIfTI-1 and NIfTI-2, plain or gzip-compressed, in one file (.nii) or as a pair (.hdr and .img).

Headers are interpreted by nibabel; sizes are checked against the file before memory is taken, and the bytes are read
here, to the end, because nibabel stops at the last voxel and so never sees the gzip checksum behind it.
"""

import math
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Extension

from medgan.errors import MedganError
from medgan.files import atomic_path
from medgan.volume.checks import MAX_VOXELS, check_num_bytes, volume_at
from medgan.volume.gzipped import compressing, opened
from medgan.volume.nifti_header import (
    LARGEST_OFFSET,
    affine_of,
    dtype_of,
    is_pair,
    offset_of,
    read_header,
    scaling_of,
    shape_of,
)
from medgan.volume.stored import as_voxels, chunks_of, fill, voxel_chunks
from medgan.volume.volume import Volume, same_grid


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return the volume of a NIfTI file, in its stored type, or as floats where the header scales the values.

    Geometry comes from the sform where its code is set, else from the qform. Where both are set and disagree, equal
    codes are refused (the file contradicts itself); different codes name different spaces, and the sform is used with
    a warning. Metres and micrometres become millimetres. A shear in the sform is kept.

    Args:
        path: a .nii or .nii.gz file, or either half of a pair, whose other half must lie beside it.
        max_voxels: a file that claims more is refused before memory is taken.

    Raises:
        MedganError: if the file is no NIfTI, is truncated or corrupt (the gzip checksum is verified), is not one 3D
            volume of real numbers, records no orientation, or claims more than `max_voxels`.
    """
    path = _header_path(Path(path))
    with opened(path) as (stream, is_compressed):
        header = read_header(path, stream)
        shape = shape_of(path, header, max_voxels=max_voxels)
        affine = affine_of(path, header, shape)
        dtype, offset = dtype_of(path, header), offset_of(path, header)
        slope, intercept = scaling_of(path, header)
        if is_pair(header):
            _read_extensions(path, stream)
        else:
            buffer = _read_voxels(path, stream, offset, math.prod(shape) * dtype.itemsize, is_compressed=is_compressed)
    if is_pair(header):
        voxels_path = _voxels_path(path)
        with opened(voxels_path) as (stream, is_compressed):
            num_bytes = math.prod(shape) * dtype.itemsize
            buffer = _read_voxels(voxels_path, stream, offset, num_bytes, is_compressed=is_compressed)
    voxels = as_voxels(buffer, dtype, shape)
    return volume_at(path, _scaled(voxels, slope, intercept)[None], affine)


def write(volume: Volume, path: str | Path, *, extension: str | None = None) -> None:
    """Write one channel as NIfTI-1 in its own type, atomically; equal volumes give equal bytes.

    sform and qform are both set, with code 1 (scanner); an affine with shear has no qform, so there it is left unset.

    Args:
        volume: one channel.
        path: ends in .nii or .nii.gz.
        extension: text (JSON, by our convention) that travels in the header as a comment extension, code 6.

    Raises:
        MedganError: if the file cannot be written.
    """
    path = Path(path)
    data = volume.data[0]
    header = _new_header(volume, extension)
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        if path.suffix.lower() != ".gz":
            _write_to(raw, header, data)
            return
        with compressing(raw) as compressed:
            _write_to(compressed, header, data)


def _header_path(path: Path) -> Path:
    """Return the file that holds the header: the path itself, or beside the .img of a pair its .hdr."""
    if not _has_suffix(path, ".img"):
        return path
    header = _other_half(path, ".hdr")
    if header is None:
        raise MedganError(
            f"{path} is one half of a .hdr/.img pair, but its header, {path.name.split('.img')[0]}.hdr, is missing; "
            "put both in one folder."
        )
    return header


def _voxels_path(path: Path) -> Path:
    voxels = _other_half(path, ".img")
    if voxels is None:
        raise MedganError(
            f"{path} is the header of a .hdr/.img pair, but the voxels, {path.name.split('.')[0]}.img, are missing; "
            "put both in one folder."
        )
    return voxels


def _has_suffix(path: Path, suffix: str) -> bool:
    return path.name.lower().endswith((suffix, f"{suffix}.gz"))


def _other_half(path: Path, suffix: str) -> Path | None:
    """Return the file of the same name that ends in `suffix`, plain or compressed as `path` is, else the other way."""
    is_compressed = path.suffix.lower() == ".gz"
    stem = path.with_suffix("").with_suffix("") if is_compressed else path.with_suffix("")
    endings = (f"{suffix}.gz", suffix) if is_compressed else (suffix, f"{suffix}.gz")
    names = [stem.name + spelled for ending in endings for spelled in (ending, ending.upper())]
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def _read_extensions(path: Path, stream: BinaryIO) -> None:
    """Read what follows the header of a pair, for the checksum at its end."""
    num_bytes = 0
    for chunk in chunks_of(stream):
        num_bytes += len(chunk)
        if num_bytes > LARGEST_OFFSET:
            raise MedganError(f"{path} is too large for a header: over {num_bytes:,} bytes follow it.")


def _read_voxels(path: Path, stream: BinaryIO, offset: int, num_bytes: int, *, is_compressed: bool) -> np.ndarray:
    available = path.stat().st_size
    check_num_bytes(path, claimed=offset + num_bytes, available=available, is_compressed=is_compressed)
    stream.seek(offset)
    return fill(path, chunks_of(stream), num_bytes=num_bytes)


def _scaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    if (slope, intercept) == (1.0, 0.0):
        return stored
    scaled: np.ndarray = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite value is refused with the volume
        scaled *= slope
        scaled += intercept
    return scaled


def _new_header(volume: Volume, extension: str | None) -> nib.Nifti1Header:
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(volume.data.dtype)
    header.set_data_shape(volume.shape)
    header.set_zooms(volume.spacing_mm)
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    header.set_sform(volume.affine, code=1)
    header.set_qform(volume.affine, code=1)
    if not same_grid(volume, Volume(volume.data, header.get_qform())):
        header.set_qform(None)  # a shear does not fit into a quaternion
        header.set_zooms(volume.spacing_mm)
    if extension is not None:
        header.extensions.append(Nifti1Extension("comment", extension.encode()))
    return header


def _write_to(file: BinaryIO, header: nib.Nifti1Header, data: np.ndarray) -> None:
    header.write_to(file)
    for chunk in voxel_chunks(data):
        file.write(chunk)
