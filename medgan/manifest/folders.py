"""What lies in a folder: volumes, DICOM images, DICOM labels."""

from collections.abc import Sequence
from pathlib import Path

from medgan.errors import MedganError
from medgan.manifest.case_ids import DICOM_SUFFIXES, VOLUME_SUFFIXES, suffix_of
from medgan.volume.dicom.files import read_header


def visible_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are not hidden, in no particular order.

    Raises:
        MedganError: if the folder cannot be listed.
    """
    try:
        return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        raise MedganError(f"folder {folder}: could not be read: {error.strerror or error}.") from error


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder that have one of the suffixes, sorted."""
    return sorted(path for path in visible_files(folder) if suffix_of(path) in suffixes)


def volumes_in(folder: Path) -> list[Path]:
    """Return the volume files of a folder, sorted; DICOM is not among them."""
    return files_in(folder, VOLUME_SUFFIXES)


def holds_dicom_image(folder: Path) -> bool:
    """Return whether a folder holds a DICOM file that is neither SEG nor RTSTRUCT."""
    return any(_looks_dicom(path) and not _is_label(path) for path in visible_files(folder))


def dicom_labels_in(folder: Path) -> list[Path]:
    """Return the DICOM SEG and RTSTRUCT of a folder with neither volumes nor DICOM images, sorted; else nothing."""
    if volumes_in(folder):
        return []
    files = sorted(path for path in visible_files(folder) if _looks_dicom(path))
    return files if all(_is_label(path) for path in files) else []


def _looks_dicom(path: Path) -> bool:
    """Return whether name and first bytes say DICOM; scanners also name files by UID, or without a suffix."""
    if path.name.upper() == "DICOMDIR":
        return False
    if suffix_of(path) in DICOM_SUFFIXES:
        return True
    with path.open("rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or (not path.suffix and head[:2] == b"\x08\x00")  # or group 0008 without a preamble


def _is_label(path: Path) -> bool:
    """Return whether a DICOM file is a SEG or an RTSTRUCT; one that is damaged counts as an image, which says why."""
    try:
        file = read_header(path)
        return file is not None and file.text("Modality") in ("SEG", "RTSTRUCT")
    except MedganError:
        return False
