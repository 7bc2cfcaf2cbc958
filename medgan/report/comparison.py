"""Methods compared, as comparison.json and as lines for the terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from medgan.evaluation.compare import MethodComparison
from medgan.evaluation.method_ranking import Ranking
from medgan.evaluation.metrics import metric_named
from medgan.evaluation.paired import PairedComparison, is_compared_by_size
from medgan.evaluation.statistics import MIN_INTERVAL_CASES
from medgan.files import write_json
from medgan.provenance import package_versions
from medgan.report.page import cases_text

_NOT_IN_JSON = ("case_ids", "values_a", "values_b")  # they are in the scores.csv compared
_DECIMALS = {"": 3, "mm": 2, "ml": 1, "%": 1, "count": 2}
_NOTHING = "-"
_LEGEND = "effect: matched-pairs rank-biserial correlation; p (Holm): corrected over organs and pairs of methods"
_MOST_NAMED = 10


def write_comparison_json(
    comparison: MethodComparison, path: str | Path, *, settings: Mapping[str, object] | None = None
) -> None:
    """Write `comparison` to `path` as JSON, atomically; NaN becomes null. Values of single cases are left out.

    Args:
        comparison: what `compare` returned.
        path: the file to be.
        settings: kept as they are for the record.

    Raises:
        MedganError: if the file cannot be written.
    """
    document = asdict(comparison)
    document["pairs"] = [{k: v for k, v in pair.items() if k not in _NOT_IN_JSON} for pair in document["pairs"]]
    write_json(path, {**document, "versions": package_versions(), "settings": dict(settings or {})})


def compare_briefly(comparison: MethodComparison) -> list[str]:
    """Return lines for the terminal: a table per metric and pair of methods, the rankings, and what is missing.

    Example:
        >>> for line in compare_briefly(comparison): print(line)
        Dice: gan against unet, higher is better
        organ       n   unet    gan  difference (95% interval)  Wilcoxon p  p (Holm)  effect  better/worse/equal
        left_lung  12  0.941  0.953  +0.012 (+0.004 to +0.021)       0.010     0.031   +0.74              10/2/0
    """
    lines: list[str] = []
    for metric in comparison.metrics:
        of_metric = [pair for pair in comparison.pairs if pair.metric == metric]
        for a, b in dict.fromkeys((pair.a, pair.b) for pair in of_metric):
            lines += [*_pair_lines([p for p in of_metric if (p.a, p.b) == (a, b)]), ""]
    for ranking in comparison.rankings:
        lines += [*_ranking_lines(ranking), ""]
    return [*lines, *_missing_lines(comparison), _LEGEND]


def _pair_lines(pairs: Sequence[PairedComparison]) -> list[str]:
    first, metric = pairs[0], metric_named(pairs[0].metric)
    title = f"|{metric.title}|" if is_compared_by_size(first.metric) else metric.title
    unit = f" ({metric.unit})" if metric.unit not in ("", "count") else ""
    header = [
        "organ",
        "n",
        first.a,
        first.b,
        "difference (95% interval)",
        "Wilcoxon p",
        "p (Holm)",
        "effect",
        "better/worse/equal",
    ]
    table = _table([header, *(_pair_cells(pair, metric.unit) for pair in pairs)])
    undefined = [
        f"{pair.organ}: undefined in {_named(cases)} of {name} only, left out"
        for pair in pairs
        for name, cases in ((pair.a, pair.undefined_a), (pair.b, pair.undefined_b))
        if cases
    ]
    invented = [
        f"{pair.organ}: {first.b} is {word} in {_named(cases)} more, in which there is no difference to test: "
        f"{guilty} invented it, {other} rightly found none"
        for pair in pairs
        for word, cases, guilty, other in (
            ("better", pair.invented_a, pair.a, pair.b),
            ("worse", pair.invented_b, pair.b, pair.a),
        )
        if cases
    ]
    return [f"{title}{unit}: {first.b} against {first.a}, {metric.better} is better", *table, *undefined, *invented]


def _pair_cells(pair: PairedComparison, unit: str) -> list[str]:
    decimals = _DECIMALS[unit]
    interval = f"{_signed(pair.difference_low, decimals)} to {_signed(pair.difference_high, decimals)}"
    return [
        pair.organ,
        str(pair.n),
        _number(pair.mean_a, decimals),
        _number(pair.mean_b, decimals),
        _signed(pair.difference, decimals) + (f" ({interval})" if pair.n >= MIN_INTERVAL_CASES else ""),
        _p_value(pair.wilcoxon_p),
        _p_value(pair.wilcoxon_p_holm),
        _signed(pair.effect_size, 2),
        f"{pair.num_better}/{pair.num_worse}/{pair.num_equal}",
    ]


def _ranking_lines(ranking: Ranking) -> list[str]:
    titles = ", ".join(metric_named(metric).title for metric in ranking.metrics)
    places = [f"as {place}" for place in range(1, len(ranking.methods) + 1)]
    rows = [["rank", "method", "mean rank", *places]]
    for method in ranking.methods:
        shares = [_NOTHING if math.isnan(share) else f"{share:.0%}" for share in method.rank_shares]
        rows.append([str(method.rank), method.method, _number(method.mean_rank, 2), *shares])
    stability = (
        f"Kendall's tau {_number(ranking.kendall_tau, 2)} over resampled cases"
        if ranking.has_stability
        else "stability unknown, as fewer than two of them rank the methods"
    )
    return [f"Ranking by {titles} ({cases_text(ranking.num_cases)}, {stability})", *_table(rows)]


def _missing_lines(comparison: MethodComparison) -> list[str]:
    lines = [
        f"missing in {name}: {_named(cases)}, which another has" for name, cases in comparison.missing.items() if cases
    ]
    if comparison.organs_left_out:
        lines.append(f"not compared, as not in every evaluation: {', '.join(comparison.organs_left_out)}")
    return lines


def _named(case_ids: Sequence[str]) -> str:
    more = f" and {len(case_ids) - _MOST_NAMED} more" if len(case_ids) > _MOST_NAMED else ""
    return f"{cases_text(len(case_ids))} ({', '.join(case_ids[:_MOST_NAMED])}{more})"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, columns as wide as their widest cell, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _number(value: float, decimals: int) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.{decimals}f}"


def _signed(value: float, decimals: int) -> str:
    text = _number(value, decimals)
    return text.lstrip("-") if text.strip("-0.") == "" else text if value < 0 else f"+{text}"


def _p_value(p: float) -> str:
    return _NOTHING if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"
