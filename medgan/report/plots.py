"""Strip plots: every case a dot on its organ's line, a box behind them. Coordinates here, drawing in plot.svg.j2."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medgan.evaluation.scores import METRICS, Score
from medgan.report.summary import MetricSummary, Summary

WIDTH = 560
_LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 130, 16, 8, 34, 30
_GOLDEN = 0.618034  # its multiples spread dots evenly without chance
_SPREAD = 16.0  # of the dots of one organ, up and down


@dataclass(frozen=True)
class Tick:
    """A mark on the value axis."""

    x: float
    text: str


@dataclass(frozen=True)
class Dot:
    """One case: where it is drawn and what it says."""

    x: float
    y: float
    case_id: str
    value: float


@dataclass(frozen=True)
class Strip:
    """One organ's line: its box (quartiles and median; None without values), its dots and the cases left out."""

    organ: str
    y: float
    box: tuple[float, float, float] | None
    dots: tuple[Dot, ...]
    num_undefined: int


@dataclass(frozen=True)
class Plot:
    """One metric over all organs and cases, in the units of an SVG of `width` by `height`."""

    name: str
    left: float
    right: float
    width: float
    height: float
    ticks: tuple[Tick, ...]
    strips: tuple[Strip, ...]


def strip_plot(name: str, scores: Sequence[Score], summary: Summary) -> Plot:
    """Return the plot of metric `name`, an organ of `summary` per line."""
    values = [value for score in scores if not math.isnan(value := getattr(score, name))]
    low, high, step = _axis(values, share=METRICS[name].unit == "" and METRICS[name].better == "higher")
    scale = (WIDTH - _LEFT - _RIGHT) / (high - low)

    def x_of(value: float) -> float:
        return round(_LEFT + (value - low) * scale, 1)

    by_organ: Mapping[str, list[Score]] = {organ.organ: [] for organ in summary.organs}
    for score in scores:
        by_organ[score.organ].append(score)
    strips = []
    for row, organ in enumerate(summary.organs):
        y = _TOP + (row + 0.5) * _ROW
        defined = [s for s in by_organ[organ.organ] if not math.isnan(getattr(s, name))]
        dots = tuple(
            Dot(
                x_of(getattr(s, name)), round(y + _SPREAD * (index * _GOLDEN % 1 - 0.5), 1), s.case_id, getattr(s, name)
            )
            for index, s in enumerate(defined)
        )
        metric: MetricSummary = organ.metrics[name]
        box = (x_of(metric.q1), x_of(metric.median), x_of(metric.q3)) if metric.n else None
        strips.append(Strip(organ.organ, y, box, dots, metric.n_undefined))
    num_ticks = round((high - low) / step) + 1
    ticks = tuple(Tick(x_of(low + i * step), f"{low + i * step:.10g}") for i in range(num_ticks))
    height = _TOP + _ROW * len(strips) + _BOTTOM
    return Plot(name, _LEFT, WIDTH - _RIGHT, WIDTH, height, ticks, tuple(strips))


def _axis(values: Sequence[float], *, share: bool) -> tuple[float, float, float]:
    """Return the ends of the axis and the step between ticks; shares end at 1, everything else includes 0."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    low, high = (low, 1.0) if share else (min(low, 0.0), max(high, 0.0))
    span = high - low or 0.1
    power = 10 ** math.floor(math.log10(span / 5))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= span / 5 * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return first * step, max(last, first + 1) * step, step
