"""The page of a comparison: one HTML file that needs nothing else and runs no script."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medgan.evaluation.compare import MethodComparison, MethodMean
from medgan.evaluation.metrics import Metric, metric_named
from medgan.evaluation.paired import EQUAL_DECIMALS, PairedComparison, is_compared_by_size
from medgan.evaluation.statistics import MIN_INTERVAL_CASES
from medgan.files import write_text
from medgan.provenance import package_versions
from medgan.report.page import environment, format_value, inline_hash, package_text, policy, share_text
from medgan.report.tables import measured_by, p_value_text, tolerances_text

ALPHA = 0.05  # of a corrected p value that is called a difference
MAX_NAMED = 12  # missing cases named before the others are folded away
Verdict = Literal["better", "worse", "unclear", "none"]
_PLOT_WIDTH, _ROW = 320, 46  # CSS pixels
_MARGIN = 8  # room for a dot at the edge
_GOLDEN = 0.618034  # its multiples spread dots evenly without chance
_SPREAD = 0.62  # of the dots of a row


@dataclass(frozen=True)
class Dot:
    """One case: where it is drawn and what it says."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Row:
    """One organ: its numbers, its cases around zero, the mean difference and the ends of its interval."""

    pair: PairedComparison
    dots: tuple[Dot, ...]
    mean: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Tick:
    """A mark on the axis of differences."""

    x: float
    text: str


@dataclass(frozen=True)
class Duel:
    """Two methods in one metric: a row per organ, on one axis with zero in its middle."""

    a: str
    b: str
    ticks: tuple[Tick, ...]
    rows: tuple[Row, ...]

    def count_of(self, verdict: Verdict) -> int:
        """Return the number of organs with this verdict on `b`."""
        return sum(verdict_on(row.pair) == verdict for row in self.rows)


@dataclass(frozen=True)
class Section:
    """One metric: how it was measured, the means of every method by organ, and every two methods."""

    name: str
    metric: Metric
    title: str
    definition: str
    measured: tuple[str, ...]
    means: tuple[tuple[str, tuple[MethodMean, ...]], ...]
    duels: tuple[Duel, ...]


def write_comparison(comparison: MethodComparison, folder: str | Path) -> Path:
    """Write `comparison.html` into `folder` and return it.

    The page holds its style and plots itself, loads nothing, runs nothing, and forbids the browser to.

    Raises:
        MedganError: if the file cannot be written.
    """
    from markupsafe import Markup  # noqa: PLC0415 - not needed to import the room

    style = package_text("templates/report.css") + package_text("templates/comparison.css")
    templates = environment()
    templates.filters |= {
        "signed": signed_value,
        "p_value": p_value_text,
        "tolerances": tolerances_text,
        "share": share_text,
    }
    page = templates.get_template("comparison.html.j2").render(
        comparison=comparison,
        sections=[_section(comparison, name) for name in comparison.metrics],
        metrics={name: metric_named(name) for name in comparison.metrics},
        agreements=[
            (method, organ, found)
            for method, organs in comparison.agreements.items()
            for organ, found in organs.items()
            if found is not None
        ],
        versions=package_versions(),
        plot={"width": _PLOT_WIDTH, "height": _ROW, "middle": _PLOT_WIDTH / 2},
        alpha=ALPHA,
        max_named=MAX_NAMED,
        min_interval_cases=MIN_INTERVAL_CASES,
        verdict_on=verdict_on,
        best_of=best_of,
        style=Markup(style),  # ours: no input in it
        policy=policy({"img-src": ["data:"], "style-src": [inline_hash(style)]}),
    )
    path = Path(folder) / "comparison.html"
    write_text(path, page)
    return path


def verdict_on(pair: PairedComparison) -> Verdict:
    """Return what can be said of `b`: "better" or "worse" where the corrected test finds a difference, else "none".

    The test is of ranks, so it is the effect size that says which way it points. One disastrous case can turn the mean
    the other way: "unclear", as the two would name different winners.
    """
    if math.isnan(pair.wilcoxon_p_holm) or pair.wilcoxon_p_holm >= ALPHA:
        return "none"
    if pair.effect_size * pair.difference <= 0:
        return "unclear"
    is_higher = pair.difference > 0
    return "better" if is_higher == (metric_named(pair.metric).better == "higher") else "worse"


def best_of(means: Sequence[MethodMean]) -> tuple[str, ...]:
    """Return the method with the best mean, or all that share it; none if none has a value."""
    defined = {mean.method: round(mean.mean, EQUAL_DECIMALS) for mean in means if not math.isnan(mean.mean)}
    if not defined:
        return ()
    best = (max if metric_named(means[0].metric).better == "higher" else min)(defined.values())
    return tuple(method for method, mean in defined.items() if mean == best)


def signed_value(value: float, unit: str) -> str:
    """Return a difference in the digits of its unit, with its sign; a dash for NaN."""
    text = format_value(value, unit)
    return f"+{text}" if value > 0 and float(text) else text


def _section(comparison: MethodComparison, name: str) -> Section:
    metric = metric_named(name)
    pairs = [pair for pair in comparison.pairs if pair.metric == name]
    means = [mean for mean in comparison.means if mean.metric == name]
    return Section(
        name=name,
        metric=metric,
        title=f"|{metric.title}|" if is_compared_by_size(name) else metric.title,
        definition=metric.defined_by(comparison.surface) if comparison.surface else metric.definition,
        measured=tuple(measured_by(name, comparison.surface_definition, comparison.tolerances_mm)),
        means=tuple((organ, tuple(m for m in means if m.organ == organ)) for organ in comparison.organs),
        duels=tuple(
            _duel([pair for pair in pairs if (pair.a, pair.b) == methods])
            for methods in dict.fromkeys((pair.a, pair.b) for pair in pairs)
        ),
    )


def _duel(pairs: Sequence[PairedComparison]) -> Duel:
    differences = [b - a for pair in pairs for a, b in zip(pair.values_a, pair.values_b, strict=True)]
    end, step = _axis(max(map(abs, differences), default=0.0))
    scale = (_PLOT_WIDTH / 2 - _MARGIN) / end

    def x_of(difference: float) -> float:
        return round(_PLOT_WIDTH / 2 + difference * scale, 1)

    num_steps = round(end / step)
    ticks = tuple(Tick(x_of(i * step), _tick_text(i * step)) for i in range(-num_steps, num_steps + 1))
    rows = tuple(
        Row(
            pair=pair,
            dots=_dots(pair, x_of),
            mean=None if math.isnan(pair.difference) else x_of(pair.difference),
            interval=(
                (x_of(pair.difference_low), x_of(pair.difference_high)) if pair.n >= MIN_INTERVAL_CASES else None
            ),
        )
        for pair in pairs
    )
    return Duel(pairs[0].a, pairs[0].b, ticks, rows)


def _dots(pair: PairedComparison, x_of: Callable[[float], float]) -> tuple[Dot, ...]:
    unit = metric_named(pair.metric).unit
    cases = sorted(
        zip(pair.case_ids, pair.values_a, pair.values_b, strict=True), key=lambda case: (case[2] - case[1], case[0])
    )
    return tuple(
        Dot(
            x_of(b - a),
            round(_ROW * (0.5 + _SPREAD * (index * _GOLDEN % 1 - 0.5)), 1),
            f"{case_id}: {format_value(a, unit)} → {format_value(b, unit)}",
        )
        for index, (case_id, a, b) in enumerate(cases)
    )


def _axis(largest: float) -> tuple[float, float]:
    """Return where the axis ends on either side of zero, and the step between ticks: two or three to a side."""
    largest = largest or 1e-3
    power: float = 10.0 ** math.floor(math.log10(largest))
    step = next(m * power for m in (0.5, 1, 2, 5) if m * power * 3 >= largest * 0.999)
    return math.ceil(largest / step - 1e-9) * step, step


def _tick_text(value: float) -> str:
    text = f"{abs(value):.10g}"
    return text if not value else f"{'−' if value < 0 else '+'}{text}"
