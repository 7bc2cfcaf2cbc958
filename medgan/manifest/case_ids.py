"""Case ids: what they may look like, and how they follow from file names."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

SEGMENTATION_SUFFIX = ".seg.nrrd"  # of 3D Slicer
VOLUME_SUFFIXES = (
    SEGMENTATION_SUFFIX,
    ".nii.gz",
    ".nii",
    ".mha",
    ".mhd",
    ".nrrd",
    ".nhdr",
    ".hdr.gz",
    ".hdr",  # stands for its .img too
    ".mgh.gz",
    ".mgh",
    ".mgz",
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".bmp",
)
DICOM_SUFFIXES = (".dcm", ".ima")
DERIVED_SUFFIXES = (SEGMENTATION_SUFFIX, ".seg.dcm", ".labelmap.dcm", ".rtstruct.dcm")  # of labels that name organs
ARCHIVE_SUFFIX = ".zip"  # of a DICOM series
_MAX_LENGTH = 120  # a file name holds 255 bytes, and outputs append to the case id


def case_id_problem(case_id: str) -> str | None:
    """Return why `case_id` cannot name a case, as the end of a sentence, or None if it can.

    A case id names output files and stands in CSV cells, so it can neither leave the output folder nor start a
    spreadsheet formula.
    """
    if not case_id:
        return "case_id must not be empty"
    if len(case_id) > _MAX_LENGTH:
        return f"case_id must have at most {_MAX_LENGTH} characters, found {len(case_id)}"
    if not re.fullmatch(r"\w([\w .()+,-]*[\w)+-])?", case_id):
        return (
            f"case_id {case_id!r} is not allowed: it must start with a letter or digit and hold only letters, digits, "
            "space and _ - . , + ( )"
        )
    return None


def comparable(case_id: str) -> str:
    """Return `case_id` as a file system that ignores case and Unicode composition would compare it."""
    return unicodedata.normalize("NFKC", case_id).casefold()


def suffix_of(path: Path) -> str:
    """Return the suffix of a volume, DICOM file or zip in lower case (".nii.gz" is one suffix), or "" for others."""
    name, known = path.name.lower(), (*VOLUME_SUFFIXES, *DICOM_SUFFIXES, ARCHIVE_SUFFIX)
    return next((suffix for suffix in known if name.endswith(suffix)), "")


def derived_suffix_of(path: Path) -> str:
    """Return the suffix of a file of labels as medgan derives them from a series, in lower case, or "" for others."""
    return next((suffix for suffix in DERIVED_SUFFIXES if path.name.lower().endswith(suffix)), "")


def case_id_of(path: Path) -> str:
    """Return the name of a file without its volume suffix (".seg.dcm" is one too), or the name of a folder."""
    name = path.name or path.resolve().name
    suffix = derived_suffix_of(path) or suffix_of(path)
    return name[: -len(suffix)] if suffix else name


def distinct_case_ids(paths: Sequence[Path]) -> list[str]:
    """Return a case id for each path: the file name, led by as many folder names as it takes to tell all apart.

    Example:
        >>> distinct_case_ids([Path("p1/ct.nii.gz"), Path("p2/ct.nii.gz")])
        ['p1_ct', 'p2_ct']
    """
    depth = max((len(path.parts) for path in paths), default=1)
    for num_folders in range(depth):
        ids = ["_".join((*_last_folders(path, num_folders), case_id_of(path))) for path in paths]
        if len({comparable(case_id) for case_id in ids}) == len(ids):
            return ids
    return [case_id_of(path) for path in paths]


def _last_folders(path: Path, count: int) -> tuple[str, ...]:
    folders = tuple(part for part in path.parent.parts if part not in (path.anchor, ".."))
    return folders[-count:] if count else ()
