"""The files of single cases in a report's folder, pictures and viewer volumes, drawn from what was compared."""

import csv
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medgan.errors import MedganError, raise_all
from medgan.evaluation.evaluate import notes_on, problem_of
from medgan.evaluation.read_pair import read_pair
from medgan.evaluation.scores import Score
from medgan.inspection.workers import Died, map_in_processes
from medgan.labels import LabelMap
from medgan.manifest.case_ids import case_id_problem
from medgan.manifest.pairs import Pair
from medgan.progress import Advance
from medgan.report.ranking import pictured_cases, worst_first
from medgan.volume.readers import read_volume
from medgan.volume.volume import Volume, same_grid

OVERLAYS, VIEWER = "overlays", "viewer"
_VIEWER_FILES = ("image.nii.gz", "reference.nii.gz", "prediction.nii.gz", "case.json")
_WORST = "worst:"


@dataclass(frozen=True)
class Drawing:
    """A case, and what is to be made of it."""

    pair: Pair
    is_pictured: bool
    is_viewed: bool


def drawings_of(
    pairs: Sequence[Pair], scores: Sequence[Score], *, pictures: int, view: Sequence[str] = ()
) -> list[Drawing]:
    """Return what to draw: pictures of the cases that deserve one, viewer volumes of those asked for.

    Args:
        pairs: that were evaluated.
        scores: of those that could be.
        pictures: how many cases get a picture.
        view: case ids, and `worst:N` for the N worst cases.
    """
    worst = list(dict.fromkeys(score.case_id for score in worst_first(scores)))
    scored = {score.case_id for score in scores}
    pictured = set(pictured_cases(scores, pictures))
    viewed = {i for name in view for i in (worst[: _num_worst(name)] or [name])} & scored
    return [
        Drawing(pair, is_pictured=pair.case_id in pictured, is_viewed=pair.case_id in viewed)
        for pair in pairs
        if pair.case_id in pictured | viewed
    ]


def draw_cases(
    drawings: Sequence[Drawing],
    labels: LabelMap,
    folder: Path,
    *,
    resample: bool = False,
    told: Mapping[str, Collection[str]] | None = None,
    num_workers: int = 1,
    on_case: Advance = lambda share, note="": None,
) -> dict[str, str]:
    """Write `overlays/<case_id>.png` and `viewer/<case_id>/` for the cases that want them.

    What reading them warns of is warned of with the case id, unless it was told before.

    Args:
        drawings: what to draw.
        labels: the organs.
        folder: of the report.
        resample: as the cases were evaluated.
        told: by case id, what has been told of its files already.
        num_workers: processes. 1 does everything in this one.
        on_case: called with the share of the cases done, and the last one's id.

    Returns:
        For each case that could not be drawn as wanted, one sentence why.
    """
    results = map_in_processes(
        partial(_draw, labels=labels, folder=folder, resample=resample),
        drawings,
        num_workers=min(num_workers, max(1, len(drawings))),
        on_done=lambda num_done, index: on_case(num_done / len(drawings), drawings[index].pair.case_id),
    )
    problems = {}
    for drawing, result in zip(drawings, results, strict=True):
        case_id = drawing.pair.case_id
        drawn = _Drawn(f"the process that drew it died ({result.reason}).") if isinstance(result, Died) else result
        if drawn.problem:
            problems[case_id] = drawn.problem
        for note in drawn.notes:
            if note not in (told or {}).get(case_id, ()):
                warnings.warn(f"case {case_id}: {note}", stacklevel=2)
    return problems


def check_views(wanted: Sequence[str], case_ids: Collection[str]) -> None:
    """Raise `MedganError` for what is neither a case nor `worst:N`."""
    raise_all(
        [
            f"{name!r} is no case; give a case id such as {next(iter(case_ids))}, or worst:3 for the three worst."
            for name in wanted
            if name not in case_ids and not _num_worst(name)
        ],
        where="view",
    )


def remove_drawings(folder: Path) -> None:
    """Remove the pictures and viewer volumes of the cases that the scores.csv of a folder names, and nothing else.

    Raises:
        MedganError: if one cannot be removed.
    """
    for case_id in _cases_scored_in(folder / "scores.csv"):
        case = folder / VIEWER / case_id
        for path in (folder / OVERLAYS / f"{case_id}.png", *(case / name for name in _VIEWER_FILES)):
            if any(place.is_symlink() for place in (path.parent, folder / VIEWER)):
                continue  # what lies behind a link is not the report's
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise MedganError(f"{path} of an earlier report could not be removed: {error.strerror}.") from error
        if case.is_dir() and not case.is_symlink() and not any(case.iterdir()):
            case.rmdir()


@dataclass(frozen=True)
class _Drawn:
    """What went wrong with a drawing, empty if nothing did, and what reading its files warned of."""

    problem: str
    notes: tuple[str, ...] = ()


def _draw(drawing: Drawing, *, labels: LabelMap, folder: Path, resample: bool) -> _Drawn:
    """Draw one case; nothing a user can mend is raised."""
    with notes_on(drawing.pair) as notes:
        try:
            problem = _drawn(drawing, labels, folder, resample=resample)
        except MedganError as error:
            problem = problem_of(drawing.pair, str(error))
    return _Drawn(problem, tuple(notes))


def _drawn(drawing: Drawing, labels: LabelMap, folder: Path, *, resample: bool) -> str:
    """Draw one case and return why it is not as it should be, empty if it is."""
    from medgan.report.overlay import write_overlay  # noqa: PLC0415 - brings drawing, wanted here only
    from medgan.report.viewer import write_viewer_volumes  # noqa: PLC0415 - likewise

    pair = drawing.pair
    image, problem = _image_of(pair)
    volumes = read_pair(pair, labels, image=image, resample=resample)
    reference, prediction = volumes.reference, volumes.prediction
    if image is not None and not same_grid(image, reference):
        image, problem = None, "its image lies on another grid than its reference, so it is drawn without."
    if drawing.is_pictured:
        path = folder / OVERLAYS / f"{pair.case_id}.png"
        write_overlay(image, prediction, labels, path, reference=reference)
    if drawing.is_viewed:
        write_viewer_volumes(image, reference, prediction, labels, folder / VIEWER, case_id=pair.case_id)
    return problem


def _image_of(pair: Pair) -> tuple[Volume | None, str]:
    """Return the image of a case, or None and why it cannot be shown, if there should be one."""
    if pair.image is None:
        return None, ""
    try:
        return read_volume(pair.image, series=pair.series or None), ""
    except MedganError as error:
        return None, f"it is drawn without its image: {problem_of(pair, str(error))}"


def _num_worst(name: str) -> int:
    """Return the N of `worst:N`, 0 for any other text."""
    number = name.removeprefix(_WORST)
    return int(number) if number != name and number.isdecimal() else 0


def _cases_scored_in(path: Path) -> set[str]:
    """Return the case ids of a scores.csv of any version, leaving out what cannot be one; none if there is no such."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            found = {str(row.get("case_id") or "") for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error):
        return set()
    return {case_id for case_id in found if case_id_problem(case_id) is None}
