"""NIfTI-1 and NIfTI-2, plain or gzip-compressed.

Headers are interpreted by nibabel; sizes are checked against the file before memory is taken, and the bytes are read
here, to the end, because nibabel stops at the last voxel and so never sees the gzip checksum behind it.
"""

import gzip
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Extension
from nibabel.spatialimages import HeaderDataError

from medgan.errors import MedganError
from medgan.files import atomic_path
from medgan.volume.checks import MAX_VOXELS, check_num_bytes, check_num_voxels, volume_at
from medgan.volume.volume import Volume, same_grid

_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_OTHER_DTYPES = {128: "RGB colour", 2304: "RGBA colour", 32: "complex", 1792: "complex", 2048: "complex"}
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown (millimetres are meant), metre, millimetre, micrometre
_CHUNK_BYTES = 1 << 24


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return the volume of a NIfTI file, in its stored type, or as floats where the header scales the values.

    Geometry comes from the sform where its code is set, else from the qform. Where both are set and disagree, equal
    codes are refused (the file contradicts itself); different codes name different spaces, and the sform is used with
    a warning. Metres and micrometres become millimetres. A shear in the sform is kept.

    Raises:
        MedganError: if the file is no NIfTI, is truncated or corrupt (the gzip checksum is verified), is not one 3D
            volume of real numbers, records no orientation, or claims more than `max_voxels`.
    """
    path = Path(path)
    try:
        with _opened(path) as (stream, is_compressed):
            header = _read_header(path, stream)
            shape = _shape_of(path, header, max_voxels=max_voxels)
            affine = _affine_of(path, header, shape)
            dtype = _dtype_of(path, header)
            stored = _read_voxels(path, stream, header, shape, dtype, is_compressed=is_compressed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise MedganError(f"{path} is truncated or corrupt ({_reason(error)}); copy or download it again.") from error
    return volume_at(path, _scaled(path, header, stored)[None], affine)


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
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1, mtime=0) as compressed:
            _write_to(compressed, header, data)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """Yield the file's (decompressed) bytes and whether they were compressed; content decides, not the name."""
    if path.stat().st_size == 0:
        raise MedganError(f"{path} is empty (0 bytes); copy or download it again.")
    with path.open("rb") as raw:
        is_compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if is_compressed:
            with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                yield stream, True  # type: ignore[misc]
        else:
            yield raw, False


def _read_header(path: Path, stream: BinaryIO) -> nib.Nifti1Header:
    start = stream.read(4)
    for header_class, magic in ((nib.Nifti1Header, b"n+1"), (nib.Nifti2Header, b"n+2")):
        for endianness, order in (("<", "little"), (">", "big")):
            if int.from_bytes(start, order) != header_class.sizeof_hdr:  # type: ignore[arg-type]
                continue
            block = start + stream.read(header_class.sizeof_hdr - 4)
            if len(block) < header_class.sizeof_hdr:
                raise MedganError(f"{path} is truncated: it ends inside the NIfTI header; copy or download it again.")
            header = header_class(block, endianness, check=False)
            found = header["magic"].item()
            if found.startswith(magic):
                return header
            if found.startswith(b"ni"):
                raise MedganError(
                    f"{path} is one half of a .hdr/.img pair, which is not supported; save it as .nii.gz."
                )
    raise MedganError(f"{path} is not a NIfTI file: it must begin with a NIfTI header and its magic; check what it is.")


def _shape_of(path: Path, header: nib.Nifti1Header, *, max_voxels: int) -> tuple[int, int, int]:
    num_dims, *sizes = (int(n) for n in header["dim"])
    dims = sizes[: max(num_dims, 0)]
    if not 1 <= num_dims <= 7 or min(dims) < 1:
        raise MedganError(
            f"{path} has a damaged header: dim must give 1 to 7 dimensions of positive size, "
            f"found {[num_dims, *sizes]}; export it again."
        )
    if any(n > 1 for n in dims[3:]):
        raise MedganError(
            f"{path} must be one 3D volume, but has the {num_dims}D shape {tuple(dims)}; "
            "save the time point or channel you want as a file of its own."
        )
    i, j, k = [*dims, 1, 1][:3]
    check_num_voxels(path, (i, j, k), max_voxels=max_voxels)
    return i, j, k


def _dtype_of(path: Path, header: nib.Nifti1Header) -> np.dtype[np.generic]:
    code, num_bits = int(header["datatype"]), int(header["bitpix"])
    if code not in _DTYPES:
        found = _OTHER_DTYPES.get(code, "unsupported")
        raise MedganError(f"{path} must hold one real number per voxel, but its data type, code {code}, is {found}.")
    dtype: np.dtype[np.generic] = np.dtype(header.endianness + _DTYPES[code])
    if num_bits != 8 * dtype.itemsize:
        raise MedganError(
            f"{path} has a damaged header: data type code {code} takes {8 * dtype.itemsize} bits a voxel, "
            f"but bitpix says {num_bits}; export it again."
        )
    return dtype


def _affine_of(path: Path, header: nib.Nifti1Header, shape: tuple[int, int, int]) -> np.ndarray:
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM_PER_UNIT:
        raise MedganError(f"{path} must give a known spatial unit, but xyzt_units holds code {unit}; export it again.")
    to_mm: np.ndarray = np.diag([_MM_PER_UNIT[unit]] * 3 + [1.0])
    qform_code, sform_code = int(header["qform_code"]), int(header["sform_code"])
    if qform_code <= 0 and sform_code <= 0:
        raise MedganError(
            f"{path} records no orientation (qform_code and sform_code are both 0), so left and right are unknown; "
            "set one of them from the source images."
        )
    qform: np.ndarray | None = to_mm @ _qform_of(path, header) if qform_code > 0 else None
    if sform_code <= 0:
        assert qform is not None
        return qform
    sform: np.ndarray = to_mm @ header.get_sform()
    if not np.isfinite(sform).all():
        raise MedganError(f"{path} has a damaged sform: its affine must be finite, found {sform[:3].tolist()}.")
    if qform is not None:
        _compare_forms(path, qform, sform, shape, codes=(qform_code, sform_code))
    return sform


def _qform_of(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    pixdim = [float(x) for x in header["pixdim"][:4]]
    if not np.isfinite(pixdim).all() or min(pixdim[1:]) <= 0:
        raise MedganError(
            f"{path} has a damaged qform: its pixdim (voxel spacing) must be finite and above zero, "
            f"found {tuple(pixdim[1:])}."
        )
    header["pixdim"][0] = -1 if pixdim[0] < 0 else 1  # qfac; the standard reads any other value as 1
    try:
        qform: np.ndarray = header.get_qform()
    except (ValueError, HeaderDataError) as error:
        raise MedganError(f"{path} has a damaged qform: its quaternion is not a rotation.") from error
    if not np.isfinite(qform).all():
        raise MedganError(f"{path} has a damaged qform: its quaternion and offset must be finite.")
    return qform


def _compare_forms(
    path: Path, qform: np.ndarray, sform: np.ndarray, shape: tuple[int, int, int], *, codes: tuple[int, int]
) -> None:
    no_voxels = np.broadcast_to(np.uint8(0), (1, *shape))
    by_qform, by_sform = volume_at(path, no_voxels, qform), volume_at(path, no_voxels, sform)
    if same_grid(by_qform, by_sform, tolerance_mm=max(0.05, 0.1 * min(by_sform.spacing_mm))):
        return
    grids = f"qform (code {codes[0]}) gives {by_qform.describe_grid()}; sform (code {codes[1]}) gives"
    if codes[0] == codes[1]:
        raise MedganError(f"{path}: qform and sform disagree: {grids} {by_sform.describe_grid()}; correct one of them.")
    message = f"{path}: qform and sform differ, and the sform is used: {grids} {by_sform.describe_grid()}."
    warnings.warn(message, stacklevel=2)


def _read_voxels(
    path: Path,
    stream: BinaryIO,
    header: nib.Nifti1Header,
    shape: tuple[int, int, int],
    dtype: np.dtype[np.generic],
    *,
    is_compressed: bool,
) -> np.ndarray:
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset != int(offset) or offset < header.sizeof_hdr + 4:
        raise MedganError(
            f"{path} has a damaged header: the voxel offset must be a whole number from {header.sizeof_hdr + 4}, "
            f"found {offset:g}; export it again."
        )
    num_bytes = math.prod(shape) * dtype.itemsize
    available = path.stat().st_size
    check_num_bytes(path, claimed=int(offset) + num_bytes, available=available, is_compressed=is_compressed)
    stream.seek(int(offset))
    buffer = np.empty(num_bytes, np.uint8)
    for start in range(0, num_bytes, _CHUNK_BYTES):
        chunk = stream.read(min(_CHUNK_BYTES, num_bytes - start))
        buffer[start : start + len(chunk)] = np.frombuffer(chunk, np.uint8)
        if start + len(chunk) < min(start + _CHUNK_BYTES, num_bytes):
            check_num_bytes(path, claimed=num_bytes, available=start + len(chunk))
    _read_rest(path, stream, limit=num_bytes + _CHUNK_BYTES)
    voxels: np.ndarray = buffer.view(dtype).reshape(shape, order="F")
    return voxels.astype(dtype.newbyteorder("="), copy=False)


def _read_rest(path: Path, stream: BinaryIO, *, limit: int) -> None:
    """Read to the end, which is where gzip keeps its checksum."""
    num_extra = 0
    while chunk := stream.read(1 << 20):
        num_extra += len(chunk)
        if num_extra > limit:
            raise MedganError(f"{path} is too large for its header: over {limit:,} bytes follow the last voxel.")
    if num_extra:
        warnings.warn(f"{path}: {num_extra:,} bytes follow the last voxel and are ignored.", stacklevel=2)


def _scaled(path: Path, header: nib.Nifti1Header, stored: np.ndarray) -> np.ndarray:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope) or (slope, intercept) == (1.0, 0.0):  # 0 and NaN mean: not scaled
        return stored
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise MedganError(f"{path} must have finite scl_slope and scl_inter, found {slope:g} and {intercept:g}.")
    scaled: np.ndarray = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
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


def _write_to(file: BinaryIO | gzip.GzipFile, header: nib.Nifti1Header, data: np.ndarray) -> None:
    header.write_to(file)
    little_endian = data.dtype.newbyteorder("<")
    for k in range(data.shape[2]):
        file.write(data[:, :, k].astype(little_endian, copy=False).tobytes(order="F"))


def _reason(error: Exception) -> str:
    """Return what gzip has to say; its messages hold no content of the file."""
    return " ".join(str(error).split()).rstrip(".") or "unexpected end of file"
