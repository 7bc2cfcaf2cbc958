"""A folder with one mask file for each organ, as TotalSegmentator writes it: the file name says which organ."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.volume import itk, nifti
from medgan.volume.checks import MAX_VOXELS
from medgan.volume.segments import Segment, Segments, gathered
from medgan.volume.volume import Volume, same_grid

_READERS = {
    ".nii.gz": nifti.read,
    ".nii": nifti.read,
    ".mha": itk.read,
    ".mhd": itk.read,
    ".nrrd": itk.read,
    ".nhdr": itk.read,
}


def is_mask_folder(path: Path) -> bool:
    """Return whether a folder holds volume files, directly and not only hidden ones."""
    return path.is_dir() and bool(masks_in(path))


def read_mask_folder(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Segments:
    """Return the masks of a folder, numbered from 1 in the order of their names.

    A segment's name is its file's without the suffix ("heart" of heart.nii.gz). Other files and sub-folders are left
    alone.

    Args:
        path: the folder.
        max_voxels: the most voxels one file may claim.

    Raises:
        MedganError: if there is no mask, a file cannot be read, two have one name, the files differ in grid, or one
            holds more than the background 0 and one positive value.
    """
    path = Path(path)
    members = masks_in(path)
    if not members:
        raise MedganError(f"{path} must hold mask files ({', '.join(_READERS)}), but there is none; check the path.")
    grid: list[Volume] = []  # of the first mask

    def segments() -> Iterator[Segment]:
        for number, (name, member) in enumerate(sorted(members.items()), start=1):
            volume = _READERS[_suffix_of(member)](member, max_voxels=max_voxels)
            if not grid:
                grid.append(Volume(np.broadcast_to(np.uint8(0), volume.data.shape), volume.affine))
            if not same_grid(grid[0], volume):
                raise MedganError(
                    f"{path}: all masks must be on one grid, but {min(members)} has {grid[0].describe_grid()} and "
                    f"{name} has {volume.describe_grid()}."
                )
            yield Segment.from_mask(number, name, _mask_of(member, volume.data[0]))

    return Segments(gathered(segments(), max_voxels=max_voxels, where=str(path)), grid[0].shape, grid[0].affine)


def masks_in(path: Path) -> dict[str, Path]:
    """Return the mask files of a folder by the name of their organ.

    Raises:
        MedganError: if two have one name.
    """
    members: dict[str, Path] = {}
    for member in sorted(path.iterdir()):
        suffix = _suffix_of(member)
        if suffix and not member.name.startswith(".") and member.is_file():
            name = member.name[: -len(suffix)]
            if name in members:
                raise MedganError(f"{path}: {members[name].name} and {member.name} are two masks of one name.")
            members[name] = member
    return members


def _suffix_of(path: Path) -> str:
    return next((suffix for suffix in _READERS if path.name.lower().endswith(suffix)), "")


def _mask_of(path: Path, values: np.ndarray) -> np.ndarray:
    found = np.unique(values)
    marks = found[found != 0]
    if marks.size > 1 or not (marks > 0).all() or (marks % 1).any():  # NaN is not above 0 either
        listed = ", ".join(f"{value:g}" for value in found[:6].tolist())
        raise MedganError(
            f"{path} must be the mask of one organ, with 0 and one positive whole number, but holds {listed}"
            f"{', ...' if found.size > 6 else ''}; a file with several organs is a label by itself."
        )
    mask: np.ndarray = values != 0
    return mask
