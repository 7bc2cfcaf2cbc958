"""Many pairs scored, in processes, where whatever is wrong with a case costs that case only."""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from medgan.config import EvaluationConfig
from medgan.errors import MedganError, raise_all
from medgan.evaluation.read_pair import image_for_grid, read_pair
from medgan.evaluation.scores import Score, score_case
from medgan.files import sha256_of
from medgan.inspection.workers import Died, map_in_processes
from medgan.labels import LabelMap
from medgan.manifest.pairs import Pair
from medgan.progress import Advance


@dataclass(frozen=True)
class Evaluated:
    """What came of one pair.

    Attributes:
        case_id: of the pair.
        scores: one per organ, then one per group; none if there is a problem.
        problem: one sentence why it could not be evaluated, else empty. It names files, not where they lie.
        reference_sha256: of the reference's content.
        prediction_sha256: of the prediction's.
        is_resampled: the prediction or the region was brought onto the reference's grid.
        notes: what reading and comparing the files warned of.
    """

    case_id: str
    scores: tuple[Score, ...] = ()
    problem: str = ""
    reference_sha256: str = ""
    prediction_sha256: str = ""
    is_resampled: bool = False
    notes: tuple[str, ...] = ()


def evaluate_pairs(
    pairs: Sequence[Pair],
    labels: LabelMap,
    *,
    settings: EvaluationConfig,
    resample: bool = False,
    num_workers: int = 1,
    on_case: Advance = lambda share, note="": None,
) -> list[Evaluated]:
    """Return what came of every pair, in their order.

    Args:
        pairs: what to compare.
        labels: the organs.
        settings: what to measure, and how.
        resample: bring a prediction or region on another grid onto the reference's.
        num_workers: processes. 1 does everything in this one.
        on_case: called with the share of the cases done, and the last one's id.
    """
    results = map_in_processes(
        partial(evaluate_pair, labels=labels, settings=settings, resample=resample),
        pairs,
        num_workers=num_workers,
        on_done=lambda num_done, index: on_case(num_done / len(pairs), pairs[index].case_id),
    )
    evaluated = [_or_death(pair, result) for pair, result in zip(pairs, results, strict=True)]
    for result in evaluated:
        for note in result.notes:
            warnings.warn(f"case {result.case_id}: {note}", stacklevel=2)
    return evaluated


def evaluate_pair(pair: Pair, *, labels: LabelMap, settings: EvaluationConfig, resample: bool = False) -> Evaluated:
    """Return the scores of a pair, or what kept it from being scored; nothing a user can mend is raised."""
    with notes_on(pair) as notes:
        result = _evaluated(pair, labels, settings, resample=resample)
    return replace(result, notes=tuple(notes))


@contextmanager
def notes_on(pair: Pair) -> Iterator[list[str]]:
    """Yield a list that is filled, in the end, with what medgan warned of meanwhile, as it is told beside the case id.

    The warnings go no further: they cross no process border, and a process of its own would print them as Python does.
    """
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    told = [str(warning.message) for warning in caught if warning.category is UserWarning]  # medgan's own
    notes += dict.fromkeys(problem_of(pair, note) for note in told)


def _evaluated(pair: Pair, labels: LabelMap, settings: EvaluationConfig, *, resample: bool) -> Evaluated:
    try:
        volumes = read_pair(pair, labels, image=image_for_grid(pair), resample=resample)
        found = [
            score_case(reference, prediction, organs, case_id=pair.case_id, settings=settings, region=volumes.region)
            for organs, reference, prediction in volumes.layers
        ]
        by_organ = {score.organ: score for scores in found for score in scores}
        scores = tuple(by_organ[name] for name in labels.names_to_score)
        if settings.empty_references == "refuse" and not any(score["reference_ml"] for score in scores):
            inside = " inside its region" if volumes.region else ""
            raise MedganError(
                f"the reference has no organ{inside}; if that is so, use evaluation.empty_references=score."
            )
        hashes = sha256_of(pair.reference), sha256_of(pair.prediction)
    except MedganError as error:
        return Evaluated(pair.case_id, problem=problem_of(pair, str(error)))
    except MemoryError:
        return Evaluated(pair.case_id, problem="it does not fit in memory; use fewer --workers, or crop it.")
    return Evaluated(pair.case_id, scores, "", *hashes, is_resampled=volumes.is_resampled)


def settings_for(
    labels: LabelMap, settings: EvaluationConfig, *, surface_tolerance_mm: float | Mapping[str, float] | None = None
) -> EvaluationConfig:
    """Return the settings, with another tolerance if one is given.

    Raises:
        MedganError: if a tolerance is negative, or for what is neither organ nor group of `labels`.
    """
    if surface_tolerance_mm is not None:
        tolerance = dict(surface_tolerance_mm) if isinstance(surface_tolerance_mm, Mapping) else surface_tolerance_mm
        try:
            settings = EvaluationConfig(**{**settings.model_dump(), "surface_tolerance_mm": tolerance})
        except ValueError as error:
            raise MedganError(f"surface_tolerance_mm: must be 0 mm or more, found {surface_tolerance_mm!r}.") from error
    named = settings.surface_tolerance_mm if isinstance(settings.surface_tolerance_mm, dict) else {}
    known = (*labels.names_to_score, "default")
    raise_all(
        [f"{name!r} is none of {', '.join(known)}." for name in named if name not in known],
        where="surface_tolerance_mm",
    )
    return settings


def problem_of(pair: Pair, message: str) -> str:
    """Return a message as it is told beside the case id: without it in front, and without the folders of files."""
    for start in (f"case {pair.case_id}: ", f"case {pair.case_id}, "):
        message = message.removeprefix(start)
    for role, path in (
        ("reference", pair.reference),
        ("prediction", pair.prediction),
        ("image", pair.image),
        ("region", pair.region),
    ):
        if path is not None:
            message = message.replace(str(path), f"{role} {path.name}").replace(f"{role} {role} ", f"{role} ")
    return message


def content_hash(hashes: Iterable[tuple[str, str]]) -> str:
    """Return one SHA-256 of many files: of case ids and the hash of each case's file, whatever their order."""
    digest = hashlib.sha256()
    for case_id, sha256 in sorted(hashes):
        digest.update(f"{case_id}\0{sha256}\n".encode())
    return digest.hexdigest()


def _or_death(pair: Pair, result: Evaluated | Died) -> Evaluated:
    if isinstance(result, Evaluated):
        return result
    return Evaluated(
        pair.case_id,
        problem=f"the process that compared it died twice ({result.reason}); check its files, or give it more memory.",
    )
