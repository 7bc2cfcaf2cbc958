"""Writing a volume; the suffix decides the format."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.volume import itk, nifti
from medgan.volume.volume import Volume

_STORED_AS = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}
_SUFFIXES = (".nii", ".nii.gz", ".mha", ".nrrd")


def write_volume(volume: Volume, path: str | Path, *, extension: str | None = None) -> None:
    """Write a volume of one channel in its own type, atomically: labels as integers, geometry exactly.

    Args:
        volume: one channel; bool is stored as uint8, 64-bit integers as the smallest type that holds them.
        path: ends in .nii, .nii.gz, .mha or .nrrd.
        extension: text for the header of a NIfTI file, such as organ names and colours as JSON.

    Raises:
        MedganError: if the suffix is another, the volume has several channels, or the file cannot be written.

    Example:
        >>> write_volume(volume, "case_01.nii.gz", extension='{"heart": 3}')  # doctest: +SKIP
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(_SUFFIXES):
        raise MedganError(f"{path} must end in one of {', '.join(_SUFFIXES)}, the formats that can be written.")
    if name.endswith(".seg.nrrd"):
        raise MedganError(f"{path} would name its segments, which a volume cannot; use write_seg_nrrd, or write .nrrd.")
    if volume.num_channels != 1:
        raise MedganError(f"{path} must hold one channel, found {volume.num_channels}; write one file per channel.")
    volume = replace(volume, data=_storable(volume.data))
    if name.endswith((".nii", ".nii.gz")):
        nifti.write(volume, path, extension=extension)
    elif extension is not None:
        raise MedganError(f"{path} cannot carry an extension, which only NIfTI has; write .nii.gz.")
    else:
        itk.write(volume, path)


def _storable(data: np.ndarray) -> np.ndarray:
    if data.dtype in (np.int64, np.uint64):  # many programs cannot open 64-bit integers
        smallest = np.result_type(np.min_scalar_type(int(data.min())), np.min_scalar_type(int(data.max())))
        return data.astype(smallest)
    return data.astype(_STORED_AS.get(data.dtype, data.dtype), copy=False)
