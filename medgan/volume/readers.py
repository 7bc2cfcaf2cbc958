"""Reading an image or a label volume from any supported format.

To support another format, write a function `read(path, *, max_voxels) -> Volume` and add a line to `READERS`.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

from medgan.errors import MedganError
from medgan.volume import image2d, itk, nifti
from medgan.volume.checks import MAX_VOXELS
from medgan.volume.dicom import read as dicom
from medgan.volume.volume import Volume


class Reader(Protocol):
    """Returns the volume in a file, in its stored type, or raises `MedganError` naming the file."""

    def __call__(self, path: str | Path, *, max_voxels: int) -> Volume:
        """Read one file, or a folder for DICOM."""


READERS: dict[str, Reader] = {
    ".nii": nifti.read,
    ".nii.gz": nifti.read,
    ".dcm": dicom.read,
    ".ima": dicom.read,
    ".mha": itk.read,
    ".mhd": itk.read,
    ".nrrd": itk.read,
    ".nhdr": itk.read,
    ".png": image2d.read,
    ".jpg": image2d.read,
    ".jpeg": image2d.read,
    ".bmp": image2d.read,
    ".tif": image2d.read,
    ".tiff": image2d.read,
}


def read_volume(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return an image as float32, axes (1, I, J, K), RAS+ mm; a 2D image has K = 1.

    A folder is read as one DICOM series, a file by its suffix (`READERS`); a file with another suffix, or none, is
    read if it is DICOM, together with the other slices of its series beside it.

    Args:
        path: a file or a DICOM folder.
        max_voxels: a file that claims more is refused before memory is taken.

    Raises:
        MedganError: if the input cannot be read with all its values and its geometry, or holds NaN or infinite voxels:
            no network or metric gives a meaningful result on those, and what they stand for only the user knows.

    Example:
        >>> volume = read_volume("thorax.nii.gz")  # doctest: +SKIP
        >>> volume.shape, volume.spacing_mm, volume.data.dtype  # doctest: +SKIP
        ((512, 512, 99), (0.977, 0.977, 3.0), dtype('float32'))
    """
    volume = _read(Path(path), max_voxels=max_voxels)
    _check_finite(path, volume.data)
    with np.errstate(over="ignore"):
        data = volume.data.astype(np.float32, copy=False)
    if data is not volume.data:
        _check_finite(path, data)
    return Volume(data, volume.affine)


def read_label(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return a label volume in the smallest unsigned integer type that holds its values, axes (1, I, J, K).

    Floating-point files are taken if every value is a whole number.

    Raises:
        MedganError: as for `read_volume`, and if a value is negative, fractional or NaN.
    """
    volume = _read(Path(path), max_voxels=max_voxels)
    data = volume.data
    _check_finite(path, data)
    if data.dtype.kind == "f" and (fractional := data[data != np.trunc(data)]).size:
        raise MedganError(
            f"{path} must hold whole numbers as a label, but has fractional values such as "
            f"{_examples(fractional)}; resample labels with nearest-neighbour interpolation."
        )
    if data.min() < 0:
        raise MedganError(
            f"{path} must hold no negative label values, found {_examples(data[data < 0])}; is it an image?"
        )
    return Volume(data.astype(np.min_scalar_type(int(data.max()))), volume.affine)


def _read(path: Path, *, max_voxels: int) -> Volume:
    try:
        return _reader_for(path)(path, max_voxels=max_voxels)
    except OSError as error:
        raise MedganError(f"{path} could not be read: {error.strerror or type(error).__name__}.") from error
    except MemoryError as error:
        raise MedganError(f"{path} does not fit in memory; crop it, or use a machine with more.") from error


def _reader_for(path: Path) -> Reader:
    if not path.exists():
        raise MedganError(f"{path} does not exist; check the path.")
    if path.is_dir():
        return dicom.read
    if not path.is_file():
        raise MedganError(f"{path} must be a file or a folder of DICOM slices; it is neither.")
    name = path.name.lower()
    suffix = max((s for s in READERS if name.endswith(s)), key=len, default=None)
    if suffix is not None:
        return READERS[suffix]
    if not path.suffix or _has_dicom_preamble(path):
        return dicom.read
    raise MedganError(
        f"{path} has an unsupported format: suffix {path.suffix!r} is not one of {', '.join(READERS)}, "
        "and it is not a DICOM file."
    )


def _has_dicom_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _check_finite(path: str | Path, data: np.ndarray) -> None:
    if data.dtype.kind != "f" or np.isfinite(data).all():
        return
    num_nan, num_inf = int(np.isnan(data).sum()), int(np.isinf(data).sum())
    raise MedganError(
        f"{path} must hold finite values, but {num_nan:,} voxels are NaN and {num_inf:,} are infinite "
        "(or too large for float32); replace them by the value they stand for."
    )


def _examples(values: np.ndarray) -> str:
    return ", ".join(f"{v:g}" for v in np.unique(values)[:5].tolist())
