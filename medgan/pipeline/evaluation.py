"""From labels to figures that can go into a paper: evaluate, report, compare."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medgan.config import EvaluationConfig
from medgan.errors import MedganError, raise_all
from medgan.files import check_folder
from medgan.labels import LabelMap
from medgan.pipeline.outcome import Outcome
from medgan.pipeline.settings import check_listed, check_workers
from medgan.progress import Stage, silent

if TYPE_CHECKING:
    from medgan.evaluation.compare import MethodComparison


def evaluate(
    reference: str | Path,
    prediction: str | Path | None,
    out: str | Path,
    *,
    labels: LabelMap | Mapping[str, object] | str | Path | None = None,
    images: str | Path | None = None,
    regions: str | Path | None = None,
    split: str | None = None,
    root: str | Path | None = None,
    settings: EvaluationConfig | None = None,
    surface_tolerance_mm: float | Mapping[str, float] | None = None,
    resample: bool = False,
    view: Sequence[str] = (),
    workers: int | None = 1,
    stage: Stage = silent,
) -> Outcome:
    """Compare predictions with references and write `scores.csv`, `summary.json`, `report.html`, tables and pictures.

    Whatever keeps a case from being evaluated (no partner, unreadable, another grid, values that are no organ, ...)
    is one sentence in the outcome and in the report; the others are evaluated.

    Args:
        reference: a label file; a folder of them, or of folders with a mask per organ; a manifest; or a table of pairs
            (CSV with the columns case_id, reference, prediction). docs/evaluation.md shows each.
        prediction: a label file, or a folder with one per case under the reference's name; None with a table of pairs.
        out: folder of the results; those of an earlier evaluation there are replaced.
        labels: the organs, a mapping as in {"heart": 3}, a labels file, or text as in "heart=3, left_lung=2". None
            finds them with the files, and failing that names the values "label_1" and so on.
        images: folder of the images, or the image of the only case, for pictures and to draw contours on.
        regions: folder of masks, or the mask of the only case: only inside does anything count.
        split: of a manifest, take only this split.
        root: folder that the paths of a manifest or table may not leave; None is its own.
        settings: what to measure, and how; None is the default.
        surface_tolerance_mm: replaces that of the settings: distance within which surfaces agree, for all organs or by
            organ.
        resample: bring a prediction on another grid onto the reference's, instead of refusing it.
        view: cases to show voxel by voxel in the report: ids, or `worst:3`.
        workers: processes over cases; None is one per core, up to eight. With more than one, a script must keep its
            own work below `if __name__ == "__main__":`, as always with processes in Python.
        stage: shows progress.

    Raises:
        MedganError: if nothing can be compared.

    Example:
        >>> medgan.evaluate("cohort/manifest.csv", "predictions", "evaluation", split="test")  # doctest: +SKIP
    """
    from medgan.evaluation.evaluate import evaluate_pairs, settings_for
    from medgan.evaluation.organs import organs_to_compare
    from medgan.evaluation.record import record_of
    from medgan.inspection.workers import default_num_workers
    from medgan.manifest.pairs import pair_cases
    from medgan.report.draw import OVERLAYS, VIEWER, check_views, draw_cases, drawings_of, remove_drawings
    from medgan.report.html import write_report
    from medgan.report.scores_csv import write_scores_csv
    from medgan.report.summary import summarise, write_summary
    from medgan.report.tables import write_tables

    check_workers(workers)
    check_listed(view=view)
    labels = _labels_given(labels)
    if not isinstance(settings, EvaluationConfig | None):
        raise MedganError(f"settings must be a medgan.config.EvaluationConfig, found {settings!r:.80}.")
    check_folder(out, files=("scores.csv", "summary.json", "report.html"), folders=("tables", OVERLAYS, VIEWER))
    pairing = pair_cases(reference, prediction, images=images, regions=regions, split=split, root=root)
    pairs, folder = pairing.pairs, Path(out)
    check_views(view, [pair.case_id for pair in pairs])
    num_workers = default_num_workers(len(pairs)) if workers is None else workers
    organs = organs_to_compare(labels, pairs, num_workers=num_workers)
    chosen = settings_for(organs, settings or EvaluationConfig(), surface_tolerance_mm=surface_tolerance_mm)
    with stage("evaluate") as advance:
        results = evaluate_pairs(
            pairs,
            organs,
            settings=chosen,
            resample=resample,
            num_workers=num_workers,
            on_case=advance,
        )
    failed = {result.case_id: result.problem for result in results if result.problem} | pairing.unpaired
    scores = [score for result in results for score in result.scores]
    if not scores:
        raise_all([f"case {i}: {reason}" for i, reason in failed.items()], where=f"{reference} against {prediction}")
    remove_drawings(folder)
    write_scores_csv(scores, folder / "scores.csv")
    record = record_of(pairs, results, organs, labels_given=labels, split=split)
    summary = summarise(scores, evaluation=chosen, not_evaluated=failed, settings=record)
    write_summary(summary, folder / "summary.json")
    with stage("draw") as advance:
        problems = draw_cases(
            drawings_of(pairs, scores, pictures=chosen.pictures, view=view),
            organs,
            folder,
            resample=resample,
            told={result.case_id: result.notes for result in results},
            num_workers=num_workers,
            on_case=advance,
        )
    for case_id, problem in problems.items():
        warnings.warn(f"case {case_id}: {problem}", stacklevel=2)
    write_tables(summary, folder)
    write_report(folder)
    return Outcome(folder, tuple(result.case_id for result in results if not result.problem), failed)


def _labels_given(
    labels: LabelMap | Mapping[str, object] | str | Path | None,
) -> LabelMap | str | Path | None:
    """Return the labels given, those of a mapping as a LabelMap."""
    if isinstance(labels, Mapping):
        return LabelMap.from_mapping(labels)
    if labels == "" or not isinstance(labels, LabelMap | str | Path | None):
        raise MedganError(
            f"labels must be a labels file, a LabelMap, or such as 'heart=3,aorta=4', found {labels!r:.80}."
        )
    return labels


def report(folder: str | Path, *, figures: bool = False) -> Path:
    """Write `report.html` and `tables/` of an evaluation anew from its scores.csv and summary.json; return the page.

    Args:
        folder: that `evaluate` wrote.
        figures: also write `figures/`: every plot as SVG and PNG.

    Raises:
        MedganError: if scores.csv or summary.json is missing, damaged, or the two are of different evaluations.

    Example:
        >>> medgan.pipeline.report("evaluation", figures=True)  # doctest: +SKIP
    """
    from medgan.report.figures import write_figures
    from medgan.report.html import write_report
    from medgan.report.scores_csv import read_scores_csv
    from medgan.report.summary import read_summary
    from medgan.report.tables import write_tables

    page = write_report(folder)
    summary = read_summary(Path(folder) / "summary.json")
    write_tables(summary, folder)
    if figures:
        write_figures(read_scores_csv(Path(folder) / "scores.csv"), summary, folder)
    return page


def compare(
    evaluations: Sequence[str | Path],
    out: str | Path,
    *,
    names: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    undefined: str | None = None,
    seed: int = 0,
) -> "MethodComparison":
    """Compare methods by their evaluations, case by case, and write `comparison.html`, `.json` and tables to `out`.

    Args:
        evaluations: two folders or more that `evaluate` wrote, or the scores.csv in them, one per method.
        out: folder of the results.
        names: of the methods; None takes the folders' names.
        metrics: to compare; None is Dice and HD95, ["all"] every judged one.
        undefined: "count" or "penalise" organs missed or invented; None does as the evaluations did.
        seed: of bootstrap and permutations.

    Raises:
        MedganError: if an evaluation cannot be read, they were made with different definitions, or share no case,
            organ or metric.

    Example:
        >>> medgan.compare(["evaluation/unet", "evaluation/gan"], "comparison")  # doctest: +SKIP
    """
    from medgan.evaluation.compare import compare as compare_scores
    from medgan.report.comparison import write_comparison_json
    from medgan.report.comparison_html import write_comparison
    from medgan.report.evaluations import doubts, metrics_by_default, policy_of, read_evaluations, with_definitions
    from medgan.report.tables import write_comparison_tables

    check_listed(evaluations=evaluations, names=names or (), metrics=metrics or ())
    if len(evaluations) < 2:
        raise MedganError(f"a comparison needs at least two methods, found {len(evaluations)}.")
    if metrics and "all" in metrics and len(metrics) > 1:
        raise MedganError(f"metrics: 'all' takes every one, so it stands alone, found {', '.join(metrics)}.")
    check_folder(out, files=("comparison.html", "comparison.json"), folders=("tables",))
    read = read_evaluations(evaluations, names=names)
    chosen = None if metrics and "all" in metrics else metrics or metrics_by_default(read)
    comparison = compare_scores(
        {evaluation.name: evaluation.scores for evaluation in read},
        metrics=chosen,
        undefined=policy_of(read, wanted=undefined),
        seed=seed,
    )
    comparison = with_definitions(comparison, read)
    for doubt in doubts(read, comparison):
        warnings.warn(doubt, stacklevel=2)
    folder = Path(out)
    settings = {"evaluations": {evaluation.name: str(evaluation.path) for evaluation in read}}
    write_comparison_json(comparison, folder / "comparison.json", settings=settings)
    write_comparison_tables(comparison, folder)
    write_comparison(comparison, folder)
    return comparison
