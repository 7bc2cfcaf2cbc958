"""Which label file, folder of masks or image in a folder belongs to which case, going by names."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medgan.errors import MedganError
from medgan.manifest.case_ids import (
    ARCHIVE_SUFFIX,
    VOLUME_SUFFIXES,
    case_id_of,
    case_id_problem,
    comparable,
    derived_suffix_of,
    suffix_of,
)
from medgan.manifest.folders import dicom_labels_in, files_in, holds_dicom_image, visible_files, volumes_in
from medgan.manifest.tables import read_json

_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_MASKS = "segmentations"  # TotalSegmentator: s0001/ct.nii.gz and s0001/segmentations/heart.nii.gz
_FIRST_CHANNEL = "_0000"  # nnU-Net: case_01_0000.nii.gz is the image of case_01.nii.gz


@dataclass(frozen=True)
class LabelFiles:
    """The labels in a folder.

    Attributes:
        paths: by case id, a file or a folder of masks.
        problems: by case id, one sentence why none of its files can be taken.
        images: by case id, where an image lies beside the masks.
    """

    paths: dict[str, Path]
    problems: dict[str, str] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)


def labels_at(path: Path, *, what: str) -> LabelFiles:
    """Return the labels that a path stands for.

    A file is one; so is a folder of masks that lies as in TotalSegmentator's data set (`s0001/segmentations`, named by
    either). Any other folder stands for its volumes and what medgan derives from DICOM series (`.seg.dcm`, ...); where
    there are none, for its DICOM SEG and RTSTRUCT; where there are none, for its sub-folders of masks, or zips.

    Args:
        path: a file or a folder.
        what: its role, for messages.

    Raises:
        MedganError: if there is no label.
    """
    if path.is_file():
        return LabelFiles({case_id_of(path): path})
    if not path.is_dir():
        raise MedganError(f"{what} {path}: no such file or folder.")
    case = path.parent if path.name == _MASKS else path
    if case != path or _masks_inside(path):
        return _labels_of({case_id_of(case): [_masks_inside(case) or path]})
    found = _label_files_in(path) or {sub.name: [masks] for sub in _sub_folders(path) if (masks := masks_of(sub))}
    for archive in [] if found else files_in(path, [ARCHIVE_SUFFIX]):
        found[case_id_of(archive)] = [archive]
    if not found:
        raise MedganError(
            f"{what} {path}: holds no label volume ({', '.join(VOLUME_SUFFIXES[1:6])}, ...), no DICOM SEG or RTSTRUCT "
            "and no sub-folder of masks."
        )
    return _labels_of(found)


def masks_of(folder: Path) -> Path | None:
    """Return the folder with a case's labels, itself or its `segmentations`; None if it holds none."""
    if inside := _masks_inside(folder):
        return inside
    return folder if any(not is_picture(path) for path in volumes_in(folder)) or dicom_labels_in(folder) else None


def images_at(path: Path, case_ids: Collection[str]) -> dict[str, Path]:
    """Return the images of cases: `<case_id>` or `<case_id>_0000` in a folder, or a sub-folder with DICOM or one file.

    Args:
        path: the folder, or the image of the only case.
        case_ids: the cases.

    Raises:
        MedganError: if none of the cases has one.
    """
    if path.is_file() or (path.is_dir() and len(case_ids) == 1 and _image_in(path) == path):
        return _of_the_only_case(path, case_ids, what="image")
    if not path.is_dir():
        raise MedganError(f"images {path}: no such file or folder.")
    found = {folder.name: image for folder in _sub_folders(path) if (image := _image_in(folder))}
    found |= {case_id_of(file): file for file in files_in(path, (*VOLUME_SUFFIXES, ARCHIVE_SUFFIX))}
    names = {case_id: (case_id, case_id + _FIRST_CHANNEL) for case_id in case_ids}
    images = {case_id: found[name] for case_id, both in names.items() for name in both[::-1] if name in found}
    if not images:
        example = next(iter(case_ids))
        raise MedganError(
            f"images {path}: none is named for a case, as in {example}.nii.gz or {example}{_FIRST_CHANNEL}.nii.gz."
        )
    return images


def regions_at(path: Path, case_ids: Collection[str]) -> LabelFiles:
    """Return the region of each case: a label of its name in a folder, or the file of the only case.

    Raises:
        MedganError: if there is no label.
    """
    if path.is_file():
        return LabelFiles(_of_the_only_case(path, case_ids, what="region"))
    return labels_at(path, what="regions")


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture such as a PNG, which a folder may also hold for people to look at."""
    return suffix_of(path) in _PICTURE_SUFFIXES


def what_is_named(case_id: str, path: Path) -> str:
    """Return what a folder holds under the name of a case for which no label was found there, "" if it holds nothing.

    The sentence says why that is no label.
    """
    entries = sorted(path.iterdir()) if path.is_dir() else []
    named = [entry for entry in entries if case_id in (entry.name, case_id_of(entry), entry.stem)]
    for entry in named:
        if entry.is_symlink() and not entry.exists():
            return f"{entry.name} is a link to something that is not there."
        if entry.is_dir() and suffix_of(entry):
            return f"{entry.name} is a folder, where its name says a file; give the file in it, or rename it."
        if entry.is_dir():
            inside = f"{path.name}/{entry.name}"
            return f"{inside} is a folder, and folders are not looked into where label files lie beside them."
    return f"{named[0].name} is no label volume." if named else ""


def _of_the_only_case(path: Path, case_ids: Collection[str], *, what: str) -> dict[str, Path]:
    if len(case_ids) != 1:
        raise MedganError(f"{what} {path}: is of one case, but there are {len(case_ids)}; give a folder with one each.")
    return dict.fromkeys(case_ids, path)


def _sub_folders(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _masks_inside(folder: Path) -> Path | None:
    masks = folder / _MASKS
    return masks if masks.is_dir() and volumes_in(masks) else None


def _label_files_in(folder: Path) -> dict[str, list[Path]]:
    """Return the label files of a folder by case id, several where names differ in their suffix only."""
    volumes = volumes_in(folder)
    if all(is_picture(path) for path in volumes) and any(masks_of(sub) for sub in _sub_folders(folder)):
        return {}
    derived = [path for path in visible_files(folder) if derived_suffix_of(path)]
    found: dict[str, list[Path]] = {}
    for path in sorted({*volumes, *derived, *dicom_labels_in(folder)}):
        found.setdefault(case_id_of(path), []).append(path)
    return found


def _labels_of(found: Mapping[str, Sequence[Path]]) -> LabelFiles:
    """Return one label of each case, with the image that lies beside its masks."""
    spelt: dict[str, list[str]] = {}
    for case_id in found:
        spelt.setdefault(comparable(case_id), []).append(case_id)
    paths, problems = {}, {}
    for case_id, files in found.items():
        chosen = _one_of(case_id, files)
        if problem := case_id_problem(case_id):
            problems[case_id] = f"{problem}; rename {files[0].name}, or list it in a CSV with a case_id of its own."
        elif len(same := spelt[comparable(case_id)]) > 1:
            problems[case_id] = f"the names {' and '.join(same)} are one to many file systems; rename all but one."
        elif chosen is None:
            problems[case_id] = f"two files are named for it, {files[0].name} and {files[1].name}; keep one."
        else:
            paths[case_id] = chosen
    images = {i: image for i, path in paths.items() if path.name == _MASKS and (image := _image_in(path.parent))}
    return LabelFiles(paths, problems, images)


def _one_of(case_id: str, files: Sequence[Path]) -> Path | None:
    """Return the one file of a case, or the first of those that its record says are one prediction; else None."""
    if len(files) == 1:
        return files[0]
    record = files[0].with_name(f"{case_id}.json")
    try:
        document = read_json(record) if record.is_file() else {}
    except MedganError:
        return None
    listed = document.get("files") if isinstance(document, dict) else None
    by_name = {path.name: path for path in files}
    return next((by_name[n] for n in listed.values() if n in by_name), None) if isinstance(listed, dict) else None


def _image_in(folder: Path) -> Path | None:
    """Return the one volume in a folder, or the folder if it is a DICOM series."""
    volumes = volumes_in(folder)
    if len(volumes) == 1:
        return volumes[0]
    return folder if not volumes and holds_dicom_image(folder) else None
