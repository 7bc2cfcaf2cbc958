"""FreeSurfer's .mgh and .mgz, whose headers nibabel interprets."""

from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from medgan.errors import MedganError
from medgan.volume.checks import MAX_VOXELS, check_num_bytes, check_num_voxels, volume_at
from medgan.volume.gzipped import opened
from medgan.volume.stored import as_voxels, chunks_of, fill
from medgan.volume.volume import Volume

_HEADER_BYTES = 284
_DTYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return one volume in its stored type; what follows the voxels (scan parameters, history) is passed over.

    Raises:
        MedganError: if the file is no MGH, is truncated or corrupt (the gzip checksum is verified), holds several
            frames, records no orientation, or claims more than `max_voxels`.
    """
    path = Path(path)
    with opened(path) as (stream, is_compressed):
        block = stream.read(_HEADER_BYTES)
        if len(block) < _HEADER_BYTES or int.from_bytes(block[:4]) != 1:
            raise MedganError(f"{path} is not a FreeSurfer MGH file, or its header is truncated; check what it is.")
        _check_orientation(path, block)
        header = MGHHeader(block, check=False)
        shape = _shape_of(path, header, max_voxels=max_voxels)
        dtype = _dtype_of(path, header)
        affine = _affine_of(path, header)
        num_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        available = path.stat().st_size
        check_num_bytes(path, claimed=_HEADER_BYTES + num_bytes, available=available, is_compressed=is_compressed)
        voxels = as_voxels(fill(path, chunks_of(stream), num_bytes=num_bytes, has_more=True), dtype, shape)
    return volume_at(path, voxels[None], affine)


def _shape_of(path: Path, header: MGHHeader, *, max_voxels: int) -> tuple[int, int, int]:
    i, j, k, num_frames = (int(n) for n in header["dims"])
    if min(i, j, k, num_frames) < 1:
        raise MedganError(
            f"{path} has a damaged header: its sizes must be positive, found {(i, j, k, num_frames)}; export it again."
        )
    if num_frames > 1:
        raise MedganError(
            f"{path} must be one 3D volume, but has the 4D shape {(i, j, k, num_frames)}; "
            "save the time point or channel you want as a file of its own."
        )
    check_num_voxels(path, (i, j, k), max_voxels=max_voxels)
    return i, j, k


def _dtype_of(path: Path, header: MGHHeader) -> np.dtype[np.generic]:
    code = int(header["type"])
    if code not in _DTYPES:
        raise MedganError(
            f"{path} must hold one real number per voxel, but its data type, code {code}, is unsupported."
        )
    return np.dtype(_DTYPES[code])


def _check_orientation(path: Path, block: bytes) -> None:
    """Refuse a header without orientation, before nibabel puts a default in its place."""
    if (flag := int.from_bytes(block[28:30], signed=True)) != 1:
        raise MedganError(
            f"{path} records no orientation (goodRASFlag is {flag}), so left and right are unknown; "
            "convert it from the source images."
        )


def _affine_of(path: Path, header: MGHHeader) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        affine: np.ndarray = np.asarray(header.get_affine(), dtype=np.float64)
    if not np.isfinite(affine).all():
        raise MedganError(f"{path} has a damaged header: its geometry must be finite; export it again.")
    return affine
