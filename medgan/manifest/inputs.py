"""From what a user names on the command line (files, folders, manifests) to cases and pairs."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medgan.errors import MedganError, raise_all
from medgan.manifest.case import Case
from medgan.manifest.case_ids import (
    ARCHIVE_SUFFIX,
    DICOM_SUFFIXES,
    SEGMENTATION_SUFFIX,
    VOLUME_SUFFIXES,
    case_id_of,
    case_id_problem,
    comparable,
    derived_suffix_of,
    distinct_case_ids,
    suffix_of,
)
from medgan.manifest.read import read_manifest
from medgan.manifest.tables import read_json
from medgan.volume.dicom.files import read_header

_MANIFEST_SUFFIXES = (".csv", ".json")


@dataclass(frozen=True)
class Pair:
    """A reference and the prediction to compare it with.

    Attributes:
        case_id: the case both belong to.
        reference: the reference label volume.
        prediction: the predicted label volume; None if there is none, which counts as a failed case.
        image: the image (its first channel) for figures, if the reference is a manifest.
        resample_reference: the reference may lie on another grid and is brought over by affine.
        series: the series of the image, where its folder or zip holds several.
    """

    case_id: str
    reference: Path
    prediction: Path | None
    image: Path | None = None
    resample_reference: bool = False
    series: str = ""


def find_inputs(paths: Sequence[str | Path], *, split: str | None = None, root: str | Path | None = None) -> list[Case]:
    """Return the cases that image files, DICOM folders, zips, folders of images and manifests stand for.

    A folder with volume files is a case per file, and a case per DICOM series in its sub-folders. A folder that holds
    DICOM files only is one series, one case; one that holds neither is a case per zip. `.seg.nrrd` files beside other
    volumes, and folders with nothing but DICOM SEG or RTSTRUCT, are passed over. Case ids are file names without
    suffixes, or folder names.

    Args:
        paths: what to look through.
        split: take only these cases of manifests; at least one path must be a manifest then.
        root: as in `read_manifest`.

    Raises:
        MedganError: with all problems listed: nothing there, an empty folder, two inputs with one case id (the outputs
            of one would overwrite those of the other), a name that cannot be a case id.
    """
    found = [Path(path) for path in paths]
    if split is not None and not any(_is_manifest(path) for path in found):
        raise MedganError(f"split {split!r}: needs a manifest among the inputs; files and folders have no splits.")
    cases: list[Case] = []
    problems: list[str] = []
    for path in found:
        try:
            cases += _manifest_cases(path, split, root) if _is_manifest(path) else _path_cases(path)
        except MedganError as error:
            problems.append(str(error))
    raise_all(problems + _clashes(cases), where="inputs")
    return cases


def pair_cases(
    reference: str | Path, prediction: str | Path, *, split: str | None = None, root: str | Path | None = None
) -> list[Pair]:
    """Return every reference with its prediction, or with None where the prediction is missing.

    Args:
        reference: a label file, a folder of label files (volumes, or where there are none DICOM SEG or RTSTRUCT), or a
            manifest, whose label column is used.
        prediction: a label file, or a folder with `<case_id>.nii.gz` (or another volume format, or `.seg.nrrd`, or a
            `.seg.dcm` or `.rtstruct.dcm`) per case. Of several that the case's record lists as one prediction, the
            first counts.
        split: take only these cases of the manifest.
        root: as in `read_manifest`.

    Raises:
        MedganError: if a case has no reference, one prediction file is to serve several cases, a case has two
            prediction files, or no case at all has a prediction.
    """
    reference, prediction = Path(reference), Path(prediction)
    dicom_labels = _dicom_labels_in(reference) if reference.is_dir() else []
    cases = find_inputs(dicom_labels or [reference], split=split, root=root)
    labels = [case.label if _is_manifest(reference) else case.images[0] for case in cases]
    unlabelled = [case.case_id for case, label in zip(cases, labels, strict=True) if not label]
    raise_all(
        [f"case {case_id} has no label to compare with." for case_id in unlabelled], where=f"reference {reference}"
    )
    predictions = _predictions_of([case.case_id for case in cases], prediction)
    return [
        Pair(
            case.case_id,
            label,
            predictions[case.case_id],
            image=case.images[0] if _is_manifest(reference) else None,
            resample_reference=case.resample_label,
            series=case.series,
        )
        for case, label in zip(cases, labels, strict=True)
        if label
    ]


def _is_manifest(path: Path) -> bool:
    return path.suffix.lower() in _MANIFEST_SUFFIXES and not path.is_dir()


def _manifest_cases(path: Path, split: str | None, root: str | Path | None) -> list[Case]:
    cases = [case for case in read_manifest(path, root=root) if split is None or case.split == split]
    if not cases:
        raise MedganError(f"manifest {path}: has no case with split {split!r}.")
    return cases


def _path_cases(path: Path) -> list[Case]:
    if path.is_file():
        return [_case(case_id_of(path), path)]
    if not path.is_dir():
        raise MedganError(f"{path}: no such file or folder.")
    images = list(_images_in(path))
    if not images:
        raise MedganError(
            f"folder {path}: holds no volume ({', '.join(VOLUME_SUFFIXES[1:6])}, ...) and no DICOM series."
        )
    if images == [path]:
        return [_case(case_id_of(path), path)]
    names = distinct_case_ids([image.relative_to(path) for image in images])
    return [_case(name, image) for name, image in zip(names, images, strict=True)]


def _case(case_id: str, path: Path) -> Case:
    return Case(case_id, (path,), patient=case_id)


def _images_in(folder: Path) -> Iterator[Path]:
    """Yield the volume files of a folder and the sub-folders that hold a DICOM series, or the folder if it is one."""
    volumes = _volumes_in(folder)
    if not volumes and _holds_dicom(folder):
        yield folder
        return
    images = [path for path in volumes if suffix_of(path) != SEGMENTATION_SUFFIX]
    yield from images or volumes or _files_in(folder, [ARCHIVE_SUFFIX])
    for parent, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield from (Path(parent, name) for name in names if _holds_dicom(Path(parent, name)))


def _volumes_in(folder: Path) -> list[Path]:
    return _files_in(folder, VOLUME_SUFFIXES)


def _files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return sorted(path for path in _visible_files(folder) if suffix_of(path) in suffixes)


def _visible_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def _holds_dicom(folder: Path) -> bool:
    return any(_looks_dicom(path) and not _is_label(path) for path in _visible_files(folder))


def _dicom_labels_in(folder: Path) -> list[Path]:
    """Return the DICOM SEG and RTSTRUCT of a folder with neither volumes nor DICOM images, else nothing."""
    if _volumes_in(folder):
        return []
    files = sorted(path for path in _visible_files(folder) if _looks_dicom(path))
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


def _clashes(cases: Sequence[Case]) -> list[str]:
    problems = [f"{case.images[0]}: {problem}." for case in cases if (problem := case_id_problem(case.case_id))]
    first: dict[str, Case] = {}
    for case in cases:
        other = first.setdefault(comparable(case.case_id), case)
        if other is not case:
            problems.append(
                f"{other.images[0]} and {case.images[0]} would both be case {case.case_id}, and the outputs of one "
                "overwrite the other's; rename one, or list both in a manifest with their own case ids."
            )
    return problems


def _predictions_of(case_ids: Sequence[str], prediction: Path) -> dict[str, Path | None]:
    if prediction.is_file():
        if len(case_ids) != 1:
            raise MedganError(f"prediction {prediction}: is one file, but the reference has {len(case_ids)} cases.")
        return {case_ids[0]: prediction}
    if not prediction.is_dir():
        raise MedganError(f"prediction {prediction}: no such file or folder.")
    files: dict[str, list[Path]] = {}
    for path in sorted(_visible_files(prediction)):
        if suffix := _prediction_suffix(path):
            files.setdefault(path.name[: -len(suffix)], []).append(path)
    chosen = {case_id: _one_prediction(prediction, case_id, files.get(case_id, [])) for case_id in case_ids}
    twice = {case_id: files[case_id] for case_id, path in chosen.items() if path is None and files.get(case_id)}
    problems = [
        f"case {case_id} has two, {several[0].name} and {several[1].name}." for case_id, several in twice.items()
    ]
    raise_all(problems, where=f"predictions {prediction}")
    if not any(chosen.values()):
        raise MedganError(
            f"prediction {prediction}: must hold a file per case, as in {case_ids[0]}.nii.gz; "
            f"none of its {sum(map(len, files.values()))} volumes is named for a case of the reference."
        )
    return chosen


def _prediction_suffix(path: Path) -> str:
    """Return the suffix of a file that can be a prediction: a volume, or one that medgan derives from a series."""
    return derived_suffix_of(path) or (suffix_of(path) if suffix_of(path) in VOLUME_SUFFIXES else "")


def _one_prediction(folder: Path, case_id: str, found: Sequence[Path]) -> Path | None:
    """Return the one file of a case, or the first of those that its record says are one prediction; else None."""
    if len(found) < 2:
        return next(iter(found), None)
    record = folder / f"{case_id}.json"
    document = read_json(record) if record.is_file() else {}
    files = document.get("files") if isinstance(document, dict) else None
    listed = list(files.values()) if isinstance(files, dict) else []
    by_name = {path.name: path for path in found}
    return next((by_name[name] for name in listed if name in by_name), None)
