"""What a NIfTI header says, interpreted by nibabel and checked: size, data type, geometry, scaling."""

import math
import warnings
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from medgan.errors import MedganError
from medgan.volume.checks import check_num_voxels, volume_at
from medgan.volume.volume import same_grid

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
_OTHER_DTYPES = {
    0: "none",
    1: "one bit a voxel",
    32: "complex",
    128: "RGB colour",
    1536: "128-bit floating point",
    1792: "complex",
    2048: "complex",
    2304: "RGBA colour",
}
_MAGICS = {  # where it lies, and what it is for one file and for a pair
    nib.Nifti1Header: (344, (b"n+1\0", b"ni1\0")),
    nib.Nifti2Header: (4, (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")),
}
_LAST_FORM_CODE = 5
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown (millimetres are meant), metre, millimetre, micrometre
LARGEST_OFFSET = 1 << 26
"""The most bytes before the voxels: header extensions beyond 64 MiB are a damaged offset, or a bomb."""


def read_header(path: Path, stream: BinaryIO) -> nib.Nifti1Header:
    """Return the header at the start of a (decompressed) file, of NIfTI-1 or NIfTI-2, of either byte order.

    Raises:
        MedganError: if it is truncated, or is none.
    """
    start = stream.read(4)
    for header_class, (place, magics) in _MAGICS.items():
        for endianness, order in (("<", "little"), (">", "big")):
            if int.from_bytes(start, order) != header_class.sizeof_hdr:  # type: ignore[arg-type]
                continue
            block = start + stream.read(header_class.sizeof_hdr - 4)
            if len(block) < header_class.sizeof_hdr:
                raise MedganError(f"{path} is truncated: it ends inside the NIfTI header; copy or download it again.")
            magic = block[place : place + len(magics[0])]
            if magic in magics:
                return header_class(block, endianness, check=False)
            if magic.startswith((magics[0][:3], magics[1][:3])):
                raise MedganError(
                    f"{path} has a damaged header: its NIfTI magic must end in {magics[0][3:]!r}, but does not, as "
                    "after a transfer that changes line ends; copy it again."
                )
            if path.name.lower().endswith((".hdr", ".hdr.gz")):
                raise MedganError(
                    f"{path} is the header of an Analyze 7.5 image or has no NIfTI magic; Analyze records no "
                    "orientation, so left and right are unknown; convert the source images to .nii.gz instead."
                )
    raise MedganError(f"{path} is not a NIfTI file: it must begin with a NIfTI header and its magic; check what it is.")


def is_pair(header: nib.Nifti1Header) -> bool:
    """Return whether the voxels lie in a file of their own."""
    return bool(header["magic"].item().startswith(b"ni"))


def shape_of(path: Path, header: nib.Nifti1Header, *, max_voxels: int) -> tuple[int, int, int]:
    """Return the grid size of a header that describes one volume."""
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


def dtype_of(path: Path, header: nib.Nifti1Header) -> np.dtype[np.generic]:
    """Return the type of the voxels in the file, with its byte order."""
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


def offset_of(path: Path, header: nib.Nifti1Header) -> int:
    """Return the byte of its file at which the voxels begin."""
    offset, lowest = float(header["vox_offset"]), 0 if is_pair(header) else int(header.sizeof_hdr) + 4
    if not math.isfinite(offset) or offset != int(offset) or not lowest <= offset <= LARGEST_OFFSET:
        raise MedganError(
            f"{path} has a damaged header: the voxel offset must be a whole number from {lowest} to "
            f"{LARGEST_OFFSET}, found {offset:g}; export it again."
        )
    return int(offset)


def scaling_of(path: Path, header: nib.Nifti1Header) -> tuple[float, float]:
    """Return slope and intercept; (1, 0) where the header asks for no scaling."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):  # both mean: not scaled
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise MedganError(f"{path} must have finite scl_slope and scl_inter, found {slope:g} and {intercept:g}.")
    return slope, intercept


def affine_of(path: Path, header: nib.Nifti1Header, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the RAS+ affine in mm: the sform where its code is set, else the qform.

    Raises:
        MedganError: if neither is set, the one used is damaged, or both have one code and disagree.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers; what they give is refused
        return _affine_of(path, header, shape)


def _affine_of(path: Path, header: nib.Nifti1Header, shape: tuple[int, int, int]) -> np.ndarray:
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM_PER_UNIT:
        raise MedganError(f"{path} must give a known spatial unit, but xyzt_units holds code {unit}; export it again.")
    to_mm: np.ndarray = np.diag([_MM_PER_UNIT[unit]] * 3 + [1.0])
    qform_code, sform_code = int(header["qform_code"]), int(header["sform_code"])
    if not (0 <= qform_code <= _LAST_FORM_CODE and 0 <= sform_code <= _LAST_FORM_CODE):
        raise MedganError(
            f"{path} has a damaged header: qform_code and sform_code must be 0 to {_LAST_FORM_CODE}, "
            f"found {qform_code} and {sform_code}; export it again."
        )
    if qform_code == sform_code == 0:
        raise MedganError(
            f"{path} records no orientation (qform_code and sform_code are both 0), so left and right are unknown; "
            "set one of them from the source images."
        )
    qform: np.ndarray | None = to_mm @ _qform_of(path, header) if qform_code else None
    if not sform_code:
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
    if pixdim[0] < 0 and pixdim[0] != -1:
        raise MedganError(
            f"{path} has a damaged qform: its qfac (pixdim[0]) must be 1 or -1, found {pixdim[0]:g}, which programs "
            "read as either."
        )
    header["pixdim"][0] = pixdim[0] if pixdim[0] == -1 else 1  # of 0 and above all programs make 1
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
    if same_grid(by_qform, by_sform, tolerance_mm=0.1 * min(by_sform.spacing_mm)):
        return
    grids = f"qform (code {codes[0]}) gives {by_qform.describe_grid()}; sform (code {codes[1]}) gives"
    if codes[0] == codes[1]:
        raise MedganError(f"{path}: qform and sform disagree: {grids} {by_sform.describe_grid()}; correct one of them.")
    warnings.warn(
        f"{path}: qform and sform differ, and the sform is used, as it can hold what a registration found: "
        f"{grids} {by_sform.describe_grid()}.",
        stacklevel=2,
    )
