"""From what a user names on the command line (files, folders, manifests) to cases."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from medgan.errors import MedganError, raise_all
from medgan.manifest.case import Case
from medgan.manifest.case_ids import (
    ARCHIVE_SUFFIX,
    SEGMENTATION_SUFFIX,
    VOLUME_SUFFIXES,
    case_id_of,
    case_id_problem,
    comparable,
    distinct_case_ids,
    suffix_of,
)
from medgan.manifest.folders import files_in, holds_dicom_image, volumes_in
from medgan.manifest.read import read_manifest

_MANIFEST_SUFFIXES = (".csv", ".json")


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
    if split is not None and not any(is_manifest(path) for path in found):
        raise MedganError(f"split {split!r}: needs a manifest among the inputs; files and folders have no splits.")
    cases: list[Case] = []
    problems: list[str] = []
    for path in found:
        try:
            cases += _manifest_cases(path, split, root) if is_manifest(path) else _path_cases(path)
        except MedganError as error:
            problems.append(str(error))
    raise_all(problems + _clashes(cases), where="inputs")
    return cases


def is_manifest(path: Path) -> bool:
    """Return whether a path is that of a manifest, by its suffix."""
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
    volumes = volumes_in(folder)
    if not volumes and holds_dicom_image(folder):
        yield folder
        return
    images = [path for path in volumes if suffix_of(path) != SEGMENTATION_SUFFIX]
    yield from images or volumes or files_in(folder, [ARCHIVE_SUFFIX])
    for parent, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield from (Path(parent, name) for name in names if holds_dicom_image(Path(parent, name)))


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
