"""Tables for papers: a summary, or a comparison of methods, as CSV, Markdown and LaTeX."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from medgan.evaluation.compare import MethodComparison
from medgan.evaluation.method_ranking import Ranking
from medgan.evaluation.metrics import metric_named
from medgan.evaluation.paired import PairedComparison, is_compared_by_size
from medgan.evaluation.statistics import MIN_INTERVAL_CASES, Agreement
from medgan.files import write_text
from medgan.report.page import cases_text, diagonals_text, format_value, share_text
from medgan.report.scores_csv import number_cell, text_cell
from medgan.report.summary import MetricSummary, OrganSummary, Summary
from medgan.report.table_formats import Table, to_latex, to_markdown

_FEW = f"For fewer than {MIN_INTERVAL_CASES} cases no interval of the mean is printed: it would hold it too rarely."


def write_tables(summary: Summary, folder: str | Path) -> list[Path]:
    """Write a summary to `tables/` in `folder` and return the files.

    summary.csv has one row per organ and metric with every number there is, agreement.csv one row per organ with the
    Bland-Altman limits of its volume. summary.md and summary.tex have a table per judged metric, with the number of
    cases, and of those in which the organ was missed, invented or absent, beside every mean, and the agreement.

    Args:
        summary: of an evaluation.
        folder: of the evaluation; `tables/` is made in it.

    Raises:
        MedganError: if a file cannot be written.
    """
    folder = Path(folder) / "tables"
    written = [folder / "summary.csv"]
    _write_csv(written[0], [_summary_row(organ, name) for organ in summary.organs for name in summary.metrics])
    agreements = {organ.organ: organ.agreement for organ in summary.organs if organ.agreement is not None}
    tables = [_metric_table(summary, name) for name in summary.metrics if metric_named(name).better]
    if agreements:
        written.append(folder / "agreement.csv")
        _write_csv(written[-1], [{"organ": organ, **asdict(found)} for organ, found in agreements.items()])
        tables.append(_agreement_table([((organ,), found) for organ, found in agreements.items()], ("Organ",)))
    return written + _write_texts(tables, folder, "summary")


def write_comparison_tables(comparison: MethodComparison, folder: str | Path) -> list[Path]:
    """Write a comparison of methods to `tables/` in `folder` and return the files.

    comparison.csv has one row per pair of methods, organ and metric with every number there is, means.csv one row per
    method, organ and metric, and ranking.csv, if there are more than two methods, one row per ranking and method.
    comparison.md and comparison.tex have a table per metric and pair of methods, and one per ranking.

    Args:
        comparison: what `compare` returned.
        folder: of the comparison; `tables/` is made in it.

    Raises:
        MedganError: if a file cannot be written.
    """
    folder = Path(folder) / "tables"
    written = [folder / "comparison.csv", folder / "means.csv"]
    _write_csv(written[0], [_pair_row(pair) for pair in comparison.pairs])
    _write_csv(written[1], [asdict(mean) for mean in comparison.means])
    tables: list[Table] = []
    for metric in comparison.metrics:
        of_metric = [pair for pair in comparison.pairs if pair.metric == metric]
        for a, b in dict.fromkeys((pair.a, pair.b) for pair in of_metric):
            tables.append(_pair_table(comparison, [p for p in of_metric if (p.a, p.b) == (a, b)], len(tables) + 1))
    if comparison.rankings:
        written.append(folder / "ranking.csv")
        _write_csv(written[-1], [row for ranking in comparison.rankings for row in _ranking_rows(ranking)])
        tables += [_ranking_table(ranking, number) for number, ranking in enumerate(comparison.rankings, start=1)]
    agreements = [
        ((method, organ), found)
        for method, organs in comparison.agreements.items()
        for organ, found in organs.items()
        if found is not None
    ]
    if agreements:
        tables.append(_agreement_table(agreements, ("Method", "Organ")))
    return written + _write_texts(tables, folder, "comparison")


def title_of(metric: str, *, by_size: bool = False) -> str:
    """Return a metric's title with its unit; between bars where only its size counts."""
    found = metric_named(metric)
    title = f"|{found.title}|" if by_size else found.title
    return f"{title} ({found.unit})" if found.unit not in ("", "count") else title


def p_value_text(p: float) -> str:
    """Return a p value with three decimals; a dash for NaN."""
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval_text(low: float, high: float, unit: str) -> str:
    """Return an interval as "0.912 to 0.945"; a dash for NaN."""
    return "–" if math.isnan(low) else f"{format_value(low, unit)} to {format_value(high, unit)}"


def mean_interval_text(n: int, low: float, high: float, unit: str) -> str:
    """Return the interval of the mean of n cases; a dash where they are too few for it to hold what it says."""
    return interval_text(low, high, unit) if n >= MIN_INTERVAL_CASES else "–"


def describe_policy(penalty_mm: tuple[float, float] | None) -> str:
    """Return what a mean does with an organ that was missed or invented."""
    if penalty_mm is None:
        return "Undefined values are left out of the means and counted."
    return (
        "An organ missed or invented counts as the worst value: 0 for overlaps, the diagonal of the image "
        f"({diagonals_text(penalty_mm)}) for distances; such cases are counted. Cases with the organ in neither volume "
        "are left out."
    )


def measured_by(metric: str, surface_definition: str, tolerances_mm: Mapping[str, float]) -> list[str]:
    """Return the sentences on surface and tolerance that a metric's numbers depend on; none of what is not known."""
    notes = []
    if surface_definition and (metric_named(metric).unit == "mm" or metric == "surface_dice"):
        notes.append(f"Surface: {surface_definition.rstrip('.')}.")
    if tolerances_mm and metric in ("surface_dice", "boundary_iou"):
        notes.append(f"Tolerance: {tolerances_text(tolerances_mm)}.")
    return notes


def tolerances_text(tolerances_mm: Mapping[str, float]) -> str:
    """Return the tolerances by organ, once if they are all the same."""
    if len(set(tolerances_mm.values())) == 1:
        return f"{next(iter(tolerances_mm.values())):g} mm"
    return ", ".join(f"{organ} {tolerance:g} mm" for organ, tolerance in tolerances_mm.items())


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows with the same keys, which are the header; spreadsheets find no formula in them."""
    lines = [list(rows[0]), *([_csv_cell(value) for value in row.values()] for row in rows)]
    write_text(path, "".join(",".join(line) + "\n" for line in lines))


def _csv_cell(value: object) -> str:
    if isinstance(value, float):
        return number_cell(value)
    return text_cell(str(value))


def _write_texts(tables: Sequence[Table], folder: Path, name: str) -> list[Path]:
    markdown, latex = folder / f"{name}.md", folder / f"{name}.tex"
    write_text(markdown, to_markdown(tables))
    write_text(latex, to_latex(tables))
    return [markdown, latex]


def _summary_row(organ: OrganSummary, name: str) -> dict[str, object]:
    found = asdict(organ.metrics[name])
    counts = {key: getattr(organ, key) for key in ("num_cases", "num_missed", "num_invented", "num_absent")}
    return {
        "organ": organ.organ,
        "metric": name,
        "unit": metric_named(name).unit,
        **found,
        **counts,
        "tolerance_mm": float(organ.tolerance_mm),
    }


def _metric_table(summary: Summary, name: str) -> Table:
    unit = metric_named(name).unit
    rows = []
    for organ in summary.organs:
        m = organ.metrics[name]
        mean, sd, median, q1, q3, low, high = (
            format_value(x, unit) for x in (m.mean, m.sd, m.median, m.q1, m.q3, m.minimum, m.maximum)
        )
        rows.append(
            (
                organ.organ,
                _count_text(summary, m),
                f"{organ.num_missed}/{organ.num_invented}/{organ.num_absent}",
                f"{mean} ± {sd}",
                mean_interval_text(m.n, m.mean_low, m.mean_high, unit),
                f"{median} [{q1}, {q3}]",
                f"{low} to {high}",
            )
        )
    counts = "n (undefined, penalised)" if summary.penalty_mm else "n (undefined)"
    header = ("Organ", counts, "m/i/a", "Mean ± SD", "95% interval", "Median [quartiles]", "Range")
    return Table(name.replace("_", "-"), title_of(name), _notes(summary, name), header, tuple(rows))


def _notes(summary: Summary, name: str) -> str:
    """Return what a reader must know about a metric's table."""
    tolerances = {organ.organ: organ.tolerance_mm for organ in summary.organs}
    notes = [f"{cases_text(summary.num_cases)}. {metric_named(name).defined_by(summary.evaluation['surface'])}"]
    notes += measured_by(name, summary.surface_definition, tolerances)
    notes.append(describe_policy(summary.penalty_mm))
    affected = [(organ.organ, organ.metrics[name]) for organ in summary.organs]
    counted = [f"{organ} {m.n_undefined}" for organ, m in affected if m.n_undefined]
    penalised = [f"{organ} {m.n_penalised}" for organ, m in affected if m.n_penalised]
    notes.append(f"Undefined: {', '.join(counted) or 'none'}.")
    notes += [f"Penalised: {', '.join(penalised)}."] if penalised else []
    if summary.not_evaluated:
        notes.append(f"Not evaluated, and in none of these numbers: {cases_text(len(summary.not_evaluated))}.")
    notes.append(f"Interval: {summary.interval}. Those of the median are in summary.csv. {_FEW}")
    return " ".join([*notes, "m/i/a: cases in which the organ was missed, invented, or in neither volume."])


def _count_text(summary: Summary, metric: MetricSummary) -> str:
    """Return how many cases count, and in brackets how many do not, and how many are penalised."""
    penalised = f", {metric.n_penalised}" if summary.penalty_mm else ""
    return f"{metric.n} ({metric.n_undefined}{penalised})"


def _agreement_table(agreements: Sequence[tuple[tuple[str, ...], Agreement]], names: tuple[str, ...]) -> Table:
    rows = []
    for place, found in agreements:
        ends = [
            (getattr(found, end), getattr(found, f"{end}_low"), getattr(found, f"{end}_high"))
            for end in ("bias", "lower", "upper")
        ]
        cells = ["{} [{}, {}]".format(*(format_value(x, "ml") for x in end)) for end in ends]
        rows.append((*place, str(found.n), *cells))
    header = ("n", "Bias", "Lower limit", "Upper limit")
    notes = (
        "Bland-Altman agreement of the volume in ml, prediction minus reference: bias and 95% limits of agreement "
        "(bias ± 1.96 SD), each [with its 95% interval, t distribution]. Organs missed or invented are included, cases "
        "with the organ in neither volume are not."
    )
    return Table("volume-agreement", "Volume agreement (ml)", notes, (*names, *header), tuple(rows))


def _pair_row(pair: PairedComparison) -> dict[str, object]:
    row = asdict(pair)
    for name in ("case_ids", "values_a", "values_b"):
        del row[name]
    named = ("undefined_a", "undefined_b", "invented_a", "invented_b")
    return row | {f"num_{name}": len(row[name]) for name in named} | {name: "; ".join(row[name]) for name in named}


def _pair_table(comparison: MethodComparison, pairs: Sequence[PairedComparison], number: int) -> Table:
    first = pairs[0]
    metric, by_size = metric_named(first.metric), is_compared_by_size(first.metric)
    rows = []
    for pair in pairs:
        mean_a, mean_b = (format_value(mean, metric.unit) for mean in (pair.mean_a, pair.mean_b))
        rows.append(
            (
                pair.organ,
                _pairs_text(pair),
                mean_a,
                mean_b,
                format_value(pair.difference, metric.unit),
                mean_interval_text(pair.n, pair.difference_low, pair.difference_high, metric.unit),
                p_value_text(pair.wilcoxon_p_holm),
                p_value_text(pair.permutation_p_holm),
                format_value(pair.effect_size, "mm"),
                f"{pair.num_better}/{pair.num_worse}/{pair.num_equal}",
            )
        )
    header = ("Organ", "n (undefined)", first.a, first.b, "Difference", "95% interval", "p (W)", "p (P)", "r", "+/−/=")
    title = f"{title_of(first.metric, by_size=by_size)}: {first.b} against {first.a}"
    return Table(f"comparison-{number}", title, _pair_notes(comparison, pairs), header, tuple(rows))


def _pairs_text(pair: PairedComparison) -> str:
    return f"{pair.n} ({pair.num_without_pair})"


def _pair_notes(comparison: MethodComparison, pairs: Sequence[PairedComparison]) -> str:
    first, definitions = pairs[0], comparison.definitions
    size = " Absolute values are compared." if is_compared_by_size(first.metric) else ""
    measured = "".join(
        f" {note}" for note in measured_by(first.metric, comparison.surface_definition, comparison.tolerances_mm)
    )
    metric, policy = metric_named(first.metric), describe_policy(comparison.penalty_mm)
    definition = metric.defined_by(comparison.surface) if comparison.surface else metric.definition
    return (
        f"{definition}{measured}{size} Difference: {first.b} minus {first.a}; "
        f"{metric.better} is better. {policy} Interval: {definitions['interval']}. {_FEW} "
        f"p (W): {definitions['wilcoxon']}; p (P): {definitions['permutation']}; corrected: "
        f"{definitions['correction']}. r: {definitions['effect_size']}. +/−/=: cases in which {first.b} is better, "
        f"worse, equal.{''.join(map(_invented_note, pairs))}"
    )


def _invented_note(pair: PairedComparison) -> str:
    """Return a sentence for each side that alone invented an organ, with a space before it; nothing if none did."""
    sides = (("better", pair.invented_a, pair.a, pair.b), ("worse", pair.invented_b, pair.b, pair.a))
    return "".join(
        f" {pair.organ}: {pair.b} is {word} in {cases_text(len(found))} more, in which there is no difference to test: "
        f"{guilty} invented it, {other} rightly found none."
        for word, found, guilty, other in sides
        if found
    )


def _ranking_rows(ranking: Ranking) -> list[dict[str, object]]:
    return [
        {
            "metrics": " ".join(ranking.metrics),
            "rank": method.rank,
            "method": method.method,
            "mean_rank": method.mean_rank,
            **{f"share_of_rank_{place}": share for place, share in enumerate(method.rank_shares, start=1)},
        }
        for method in ranking.methods
    ]


def _ranking_table(ranking: Ranking, number: int) -> Table:
    titles = ", ".join(metric_named(metric).title for metric in ranking.metrics)
    places = tuple(f"As {place}" for place in range(1, len(ranking.methods) + 1))
    rows = [
        (m.method, str(m.rank), format_value(m.mean_rank, "mm"), *map(share_text, m.rank_shares))
        for m in ranking.methods
    ]
    tau, low = (format_value(x, "mm") for x in (ranking.kendall_tau, ranking.kendall_tau_low))
    stability = (
        "The shares say how often a method takes each rank when the cases are drawn again. Kendall's τ with these "
        f"rankings: mean {tau}, 2.5th percentile {low}."
        if ranking.has_stability
        else "How stable that is cannot be said, as fewer than two cases rank the methods."
    )
    notes = (
        f"{cases_text(ranking.num_cases)}. Ranked in each case, organ and metric, then by the mean of these ranks; a "
        f"case missing or an organ missed takes the last rank. {stability}"
    )
    return Table(
        f"ranking-{number}", f"Ranking by {titles}", notes, ("Method", "Rank", "Mean rank", *places), tuple(rows)
    )
