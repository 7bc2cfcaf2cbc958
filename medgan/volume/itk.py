"""ITK's formats, MetaImage and NRRD; and the check that SimpleITK, which decodes DICOM, is the real one."""

from importlib import metadata
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.files import atomic_path
from medgan.volume import metaimage, nrrd
from medgan.volume.checks import MAX_VOXELS
from medgan.volume.volume import Volume

_OLDEST = (2, 4)


def check_simpleitk() -> None:
    """Raise `MedganError` unless the installed SimpleITK is the real one, of version 2.4 or later.

    SimpleITK-SimpleElastix installs itself over SimpleITK's own files, with an unreleased ITK.
    """
    version = _version_of("SimpleITK")
    if version is None or _version_of("SimpleITK-SimpleElastix") is not None:
        raise MedganError(
            "SimpleITK must be the real one, but SimpleITK-SimpleElastix is installed over it; "
            "run pip uninstall simpleitk-simpleelastix simpleitk, then pip install simpleitk."
        )
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise MedganError(f"SimpleITK must be 2.4 or later, found {version}; run pip install -U simpleitk.")


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return a MetaImage or NRRD file as a volume, in its stored type.

    Raises:
        MedganError: as `metaimage.read` and `nrrd.read` do.
    """
    is_nrrd = Path(path).suffix.lower() in (".nrrd", ".nhdr")
    return nrrd.read(path, max_voxels=max_voxels) if is_nrrd else metaimage.read(path, max_voxels=max_voxels)


def refuse(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Raise `MedganError` for a format of ITK's that records spacing and position, but not orientation."""
    raise MedganError(
        f"{path} is in a format that records no orientation, so left and right are unknown; convert the source images "
        "to .nii.gz, .mha or .nrrd instead."
    )


def write(volume: Volume, path: str | Path) -> None:
    """Write one channel as .mha or .nrrd in its own type, compressed, atomically.

    Raises:
        MedganError: if the file cannot be written, or the affine has shear, which programs that read these formats
            straighten.
    """
    path = Path(path)
    check_straight(volume, path)
    write_format = nrrd.write if path.suffix.lower() == ".nrrd" else metaimage.write
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        write_format(volume, file)


def check_straight(volume: Volume, path: Path) -> None:
    """Raise `MedganError` if the affine has shear, which `path` cannot hold."""
    directions = volume.affine[:3, :3] / volume.spacing_mm
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-4:
        raise MedganError(f"{path} cannot hold a sheared affine; write .nii.gz instead.")
