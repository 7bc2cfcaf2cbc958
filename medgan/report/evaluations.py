"""What `medgan evaluate` left in several folders, read back to be compared."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from medgan.errors import MedganError
from medgan.evaluation.compare import MethodComparison
from medgan.evaluation.metrics import Undefined, metric_named
from medgan.evaluation.scores import Score
from medgan.report.scores_csv import read_scores_csv
from medgan.report.summary import Summary, check_same_evaluation, read_summary

_REFERENCE_HASH = "reference_sha256"  # of the references of all cases together
_MOST_NAMED = 5


@dataclass(frozen=True)
class Evaluation:
    """One evaluation, as `medgan evaluate` wrote it.

    Attributes:
        name: of the method evaluated.
        path: the folder it lies in.
        scores: of all cases.
        summary: what summary.json beside the scores says.
    """

    name: str
    path: Path
    scores: tuple[Score, ...]
    summary: Summary


def read_evaluations(paths: Sequence[str | Path], *, names: Sequence[str] | None = None) -> list[Evaluation]:
    """Return evaluations, each with a name of its own, all made with the same definitions.

    Args:
        paths: folders that `medgan evaluate` wrote, or the scores.csv in them.
        names: of the methods; None takes the folders' names, with as many parents as tell them apart.

    Raises:
        MedganError: if one cannot be read, two have one name or are one folder, or their definitions differ.
    """
    folders = [_folder_of(Path(path)) for path in paths]
    _check_each_once([str(folder.resolve()) for folder in folders], "evaluation")
    if names is None:
        names = names_of(folders)
    elif len(names) != len(folders):
        raise MedganError(f"names must be one per evaluation: {len(folders)}, found {len(names)}: {', '.join(names)}.")
    if not all(names):
        raise MedganError(f"names must not be empty, found {', '.join(map(repr, names))}.")
    _check_each_once(names, "name")
    evaluations = [_read(folder, name) for folder, name in zip(folders, names, strict=True)]
    for other in evaluations[1:]:
        _check_same_definitions(evaluations[0], other)
    return evaluations


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return the names of folders, each with as many of its parents as it takes to tell all apart.

    Example:
        >>> names_of([Path("runs/unet/evaluation"), Path("runs/gan/evaluation")])
        ['unet/evaluation', 'gan/evaluation']
    """
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def policy_of(evaluations: Sequence[Evaluation], *, wanted: str | None = None) -> Undefined:
    """Return what to do with an organ missed or invented: what is wanted, else what all evaluations do.

    Raises:
        MedganError: if there is no such policy, or none is wanted and the evaluations differ.
    """
    if wanted is not None:
        if wanted not in get_args(Undefined):
            raise MedganError(f"undefined must be {' or '.join(get_args(Undefined))}, found {wanted!r}.")
        return cast(Undefined, wanted)
    first, *others = evaluations
    for other in others:
        if other.summary.undefined != first.summary.undefined:
            raise MedganError(
                f"evaluations must treat undefined values alike, found {first.summary.undefined} in {first.path} and "
                f"{other.summary.undefined} in {other.path}. Say --undefined count or --undefined penalise."
            )
    return first.summary.undefined


def metrics_by_default(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return Dice and HD95, or what else all evaluations have of overlap and distance."""
    first, *others = (evaluation.scores[0].values for evaluation in evaluations)
    common = [name for name in first if all(name in other for other in others) and metric_named(name).better]
    distances = [name for name in common if metric_named(name).unit == "mm"]
    distance = "hd95_mm" if "hd95_mm" in distances else next(iter(distances), None)
    return [name for name in common if name in ("dice", distance)] or common


def with_definitions(comparison: MethodComparison, evaluations: Sequence[Evaluation]) -> MethodComparison:
    """Return a comparison that also says how distances were measured, which summaries know and scores do not.

    Args:
        comparison: of the scores of `evaluations`.
        evaluations: all made with the same definitions, as `read_evaluations` returns them.
    """
    first = evaluations[0].summary
    tolerances = {organ.organ: organ.tolerance_mm for organ in first.organs}
    return replace(
        comparison,
        surface=first.evaluation["surface"],
        surface_definition=first.surface_definition,
        tolerances_mm={organ: tolerances[organ] for organ in comparison.organs},
    )


def doubts(evaluations: Sequence[Evaluation], comparison: MethodComparison) -> list[str]:
    """Return a sentence for each reason to think that evaluations do not compare like with like."""
    found = []
    first, *others = evaluations
    for other in others:
        hashes = [evaluation.summary.settings.get(_REFERENCE_HASH) for evaluation in (first, other)]
        if None not in hashes and hashes[0] != hashes[1] and _cases_of(first) == _cases_of(other):
            found.append(f"{first.path} and {other.path} were evaluated against different references.")
        versions = [evaluation.summary.versions.get("medgan") for evaluation in (first, other)]
        if versions[0] != versions[1]:
            found.append(f"{first.path} was evaluated by medgan {versions[0]}, {other.path} by medgan {versions[1]}.")
    if cases := comparison.different_references:
        noun, more = "case" if len(cases) == 1 else "cases", ", ..." if len(cases) > _MOST_NAMED else "."
        named = ", ".join(cases[:_MOST_NAMED])
        found.append(
            f"the reference has not the same volume in every evaluation for {len(cases)} {noun}: {named}{more}"
        )
    return found


def _folder_of(path: Path) -> Path:
    if path.is_file() and path.name == "scores.csv":
        return path.parent
    if not path.is_dir():
        raise MedganError(f"{path} must be a folder that `medgan evaluate` wrote, or the scores.csv in it.")
    return path


def _check_each_once(values: Sequence[str], noun: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise MedganError(f"each {noun} must be given once, found twice: {', '.join(twice)}.")


def _read(folder: Path, name: str) -> Evaluation:
    scores = read_scores_csv(folder / "scores.csv")
    if not scores:
        raise MedganError(f"scores {folder / 'scores.csv'} must hold at least one case, found none.")
    summary = read_summary(folder / "summary.json")
    check_same_evaluation(scores, summary, folder)
    return Evaluation(name, folder, tuple(scores), summary)


def _check_same_definitions(a: Evaluation, b: Evaluation) -> None:
    """Refuse evaluations whose numbers do not mean the same; a percentile says in its name what it means."""
    surfaces = [evaluation.summary.evaluation["surface"] for evaluation in (a, b)]
    tolerances = [_tolerances(a, b), _tolerances(b, a)]
    for title, found in (("surface", surfaces), ("surface tolerance", tolerances)):
        if found[0] != found[1]:
            raise MedganError(
                f"evaluations must be made with the same {title} to be compared, found {found[0]} in {a.path} and "
                f"{found[1]} in {b.path}. Run `medgan evaluate` again for one of them."
            )


def _cases_of(evaluation: Evaluation) -> set[str]:
    return {score.case_id for score in evaluation.scores}


def _tolerances(evaluation: Evaluation, other: Evaluation) -> str:
    """Return the tolerance of every organ that both evaluations have, as text."""
    shared = {organ.organ for organ in other.summary.organs}
    organs = sorted((o for o in evaluation.summary.organs if o.organ in shared), key=lambda o: o.organ)
    return ", ".join(f"{organ.organ} {organ.tolerance_mm:g} mm" for organ in organs)
