"""Figures for papers: every case of every organ per metric, and the agreement of volumes, as SVG and PNG."""

import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medgan.evaluation.metrics import metric_named, value_of
from medgan.evaluation.scores import Score
from medgan.files import atomic_path
from medgan.report.summary import OrganSummary, Summary
from medgan.report.tables import describe_policy, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"  # of Okabe and Ito: told apart by anyone
GREY, INK = "#5A6875", "#1F2933"
_WIDTH, _ROW, _HEAD, _NOTE = 6.5, 0.34, 1.1, 0.3  # inches: of a page, an organ, axis and note, a note
_LINE, _NOTE_LINE = 0.15, 0.11  # inches: of a name that takes more than two lines, of a note that takes more than one
_NAME, _COUNTS, _TITLE = 24, 28, 26  # letters in a line
_NO_BREAK = "\N{NO-BREAK SPACE}"
_LETTERS = 19  # of a note, in an inch
_PANEL_HEIGHT = 0.86  # of a Bland-Altman plot, in its width
_FEW = 12  # organs with room for two plots side by side
_DPI = 300
_GOLDEN = 0.618034  # its multiples spread dots evenly without chance
_SPREAD = 0.6  # of the dots of an organ, in rows
_MANY = 50  # cases from which on dots become smaller and fainter
_LEAST_MEANS, _LEAST_DIFFERENCES = 0.1, 0.01  # the axes of a Bland-Altman plot, as shares of the largest mean
_EDGE = 0.02  # of an axis, beyond its outermost dot
_AGREEMENT_NOTE = (
    "Difference: prediction minus reference; mean: of the two. Lines: bias and 95% limits of agreement "
    "(bias ± 1.96 SD); bands: their 95% intervals. Hollow: organ missed or invented, which counts as any other."
)
_STYLE: dict[Any, Any] = {  # Any: matplotlib's type lists the keys one by one
    "font.family": ["DejaVu Sans", "sans-serif"],  # the first comes with matplotlib: the same on every machine
    "font.size": 8.0,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "medgan",  # the same file from the same scores
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
}


def write_figures(scores: Sequence[Score], summary: Summary, folder: str | Path) -> list[Path]:
    """Write the figures of an evaluation to `figures/` in `folder`, each as SVG and as PNG of 300 dpi.

    One per judged metric, `<metric>.svg`: a row per organ with every case as a dot, box and median; and
    `bland_altman.svg`: predicted minus reference volume against their mean, with bias and limits of agreement and their
    intervals. Dots are hollow where the organ is missed or invented. A page wide, as tall as the organs need.

    Args:
        scores: of all cases.
        summary: of the same scores.
        folder: of the evaluation; `figures/` is made in it.

    Returns:
        The files.

    Raises:
        MedganError: if a file cannot be written.

    Example:
        >>> write_figures(scores, summary, "evaluation")[0]  # doctest: +SKIP
        PosixPath('evaluation/figures/dice.svg')
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, wanted here only

    folder = Path(folder) / "figures"
    by_organ: dict[str, list[Score]] = {organ.organ: [] for organ in summary.organs}
    for score in scores:
        by_organ[score.organ].append(score)
    written = []
    with mpl.rc_context(_STYLE):
        for name in (name for name in summary.metrics if metric_named(name).better):
            written += _save(_metric_figure(name, by_organ, summary), folder / name)
        if any(organ.agreement for organ in summary.organs):
            written += _save(_bland_altman_figure(by_organ, summary), folder / "bland_altman")
    return written


def _metric_figure(name: str, by_organ: Mapping[str, Sequence[Score]], summary: Summary) -> "Figure":
    """Return a figure with a row of dots per organ."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import, wanted here only

    names = [_row_name(organ, name) for organ in summary.organs]
    heights = [max(1.0, 1 + (text.count("\n") - 1) * _LINE / _ROW) for text in names]  # in rows
    middles = np.cumsum(heights) - np.array(heights) / 2
    note = textwrap.fill(_note(name, by_organ, summary), int(_LETTERS * _WIDTH))
    height = _HEAD + _ROW * sum(heights) + _NOTE_LINE * note.count("\n")
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    shown: list[float] = []
    for y, organ in zip(middles.tolist(), summary.organs, strict=True):
        pairs = [(value_of(score, name, undefined=summary.undefined), score) for score in by_organ[organ.organ]]
        defined = sorted((pair for pair in pairs if not math.isnan(pair[0])), key=lambda pair: pair[0])
        values = [value for value, _ in defined]
        spread = [y + _SPREAD * ((index * _GOLDEN) % 1 - 0.5) for index in range(len(defined))]
        _draw_dots(axes, values, spread, [score for _, score in defined], size=7)
        _draw_box(axes, organ, name, y)
        shown += values
    axes.set_yticks(middles.tolist(), names, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(sum(heights) + 0.1, -0.1)
    _limit(axes, name, shown)
    axes.grid(axis="x", color="#D9DFE5", linewidth=0.6, zorder=0)
    axes.set_xlabel(title_of(name))
    figure.supxlabel(note, fontsize=6.5, color=GREY, x=0.01, ha="left")
    return figure


def _note(name: str, by_organ: Mapping[str, Sequence[Score]], summary: Summary) -> str:
    """Return what the dots and boxes are, and what becomes of organs missed or invented."""
    failing = [score for scores in by_organ.values() for score in scores if _is_failing(score)]
    num_missed = sum(score.is_missed for score in failing)
    counts = {"missed": num_missed, "invented": len(failing) - num_missed}
    told = " and ".join(f"{count} {word}" for word, count in counts.items() if count)
    dots = "Dots: cases."
    if failing:
        where = f"where the organ is missed or invented (in these rows {told})"
        is_drawn = any(not math.isnan(value_of(score, name, undefined=summary.undefined)) for score in failing)
        dots = f"Dots: cases, hollow {where}." if is_drawn else f"{dots} It is undefined {where}."
    policy = (
        describe_policy(summary.penalty_mm)
        if summary.penalty_mm
        else "Undefined values are not drawn, but counted beside the names."
    )
    return f"{dots} Boxes and lines: quartiles and median. {policy}"


def _is_failing(score: Score) -> bool:
    return score.is_missed or score.is_invented


def _draw_dots(axes: "Axes", x: Sequence[float], y: Sequence[float], scores: Sequence[Score], *, size: float) -> None:
    """Draw a dot per score, hollow for an organ missed or invented; small and faint where there are many."""
    crowd = min(1.0, math.sqrt(_MANY / max(len(scores), 1)))
    is_hollow = np.array([_is_failing(score) for score in scores], dtype=bool)
    places = np.array([x, y]).reshape(2, -1)
    solid: dict[str, Any] = {"color": BLUE, "alpha": 0.65 * max(crowd, 0.4), "linewidths": 0, "zorder": 2}
    hollow: dict[str, Any] = {"facecolors": "none", "edgecolors": BLUE, "linewidths": 0.7, "zorder": 2.5}
    for chosen, look in ((~is_hollow, solid), (is_hollow, hollow)):
        if chosen.any():
            axes.scatter(places[0, chosen], places[1, chosen], s=size * max(crowd, 0.35), clip_on=False, **look)


def _draw_box(axes: "Axes", organ: OrganSummary, name: str, y: float) -> None:
    """Draw quartiles and median over the dots."""
    metric = organ.metrics[name]
    if not metric.n:
        return
    box: dict[str, Any] = {"left": metric.q1, "height": 0.66, "linewidth": 0.9, "zorder": 3}
    axes.barh(y, metric.q3 - metric.q1, facecolor="none", edgecolor=INK, **box)
    axes.vlines(metric.median, y - 0.33, y + 0.33, color=RED, linewidth=1.8, zorder=4)


def _row_name(organ: OrganSummary, name: str) -> str:
    """Return the organ with the number of cases that count, and of those that do not."""
    metric = organ.metrics[name]
    counts = {
        "undefined": metric.n_undefined,
        "penalised": metric.n_penalised,
        "missed": organ.num_missed,
        "invented": organ.num_invented,
    }
    parts = [f"n {metric.n}", *(f"{count} {word}" for word, count in counts.items() if count)]
    whole = [part.replace(" ", _NO_BREAK) for part in parts]
    told = textwrap.fill(", ".join(whole), _COUNTS).replace(_NO_BREAK, " ")
    return f"{_wrapped(organ.organ, _NAME)}\n{told}"


def _wrapped(name: str, width: int) -> str:
    """Return a name on as many lines as it needs, broken between words, after underscores, or where it must be."""
    breakable = " ".join(name.split()).replace("_", "_\t")
    lines = textwrap.wrap(breakable, width, expand_tabs=False, replace_whitespace=False)
    return "\n".join(lines).replace("\t", "")


def _limit(axes: "Axes", name: str, values: Sequence[float]) -> None:
    """Let shares end at 1 and distances begin at 0, with room for the outermost dots."""
    metric = metric_named(name)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if metric.unit == "" and metric.better == "higher":
        high = 1.0
    elif metric.better == "near zero":
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        low, high = min(low, 0.0), max(high, 0.0)
    else:
        low = min(low, 0.0)
    room = _EDGE * ((high - low) or 1.0)
    axes.set_xlim(low - room, high + room)


def _bland_altman_figure(by_organ: dict[str, list[Score]], summary: Summary) -> "Figure":
    """Return a figure with a Bland-Altman plot per organ that any case has."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import, wanted here only

    organs = [organ for organ in summary.organs if organ.agreement]
    columns = 1 if len(organs) == 1 else 2 if len(organs) <= _FEW else 3
    panel = _WIDTH / max(columns, 2)
    titles = [_wrapped(f"{organ.organ} (n {organ.agreement.n if organ.agreement else 0})", _TITLE) for organ in organs]
    head = 0.26 + _LINE * max(title.count("\n") for title in titles)
    tall = panel * _PANEL_HEIGHT + head - 0.26
    rows, width = -(-len(organs) // columns), panel * columns
    text = textwrap.fill(_AGREEMENT_NOTE, int(_LETTERS * width))
    height = _NOTE + _NOTE_LINE * (text.count("\n") - 1) + rows * tall
    figure = Figure(figsize=(width, height))  # placed by hand: a layout of a hundred plots takes a minute
    for place, (organ, title) in enumerate(zip(organs, titles, strict=True)):
        left, top = panel * (place % columns), height - tall * (place // columns)
        inner = left + 0.64, top - tall + 0.5, panel - 1.08, tall - 0.5 - head
        axes = figure.add_axes((inner[0] / width, inner[1] / height, inner[2] / width, inner[3] / height))
        _draw_agreement(axes, by_organ[organ.organ], organ)
        axes.set_title(title, fontsize=7.5, fontweight="bold", loc="left", parse_math=False)
        if place % columns == 0:
            axes.set_ylabel("Difference (ml)")
        if place + columns >= len(organs):
            axes.set_xlabel("Mean (ml)")
    figure.text(0.05 / width, 0.05 / height, text, fontsize=6.5, color=GREY, va="bottom")
    return figure


def _draw_agreement(axes: "Axes", scores: Sequence[Score], organ: OrganSummary) -> None:
    present = [score for score in scores if not score.is_absent]
    means = [(score["prediction_ml"] + score["reference_ml"]) / 2 for score in present]
    differences = [score["prediction_ml"] - score["reference_ml"] for score in present]
    found = organ.agreement
    assert found is not None  # the caller leaves others out
    axes.axhline(0, color="#D9DFE5", linewidth=0.8, zorder=0)
    for end, color, style in (("bias", RED, "-"), ("lower", GREY, "--"), ("upper", GREY, "--")):
        value, low, high = (getattr(found, f"{end}{side}") for side in ("", "_low", "_high"))
        if math.isnan(value):
            continue
        axes.axhline(value, color=color, linestyle=style, linewidth=1.2, zorder=2)
        if not math.isnan(low):
            axes.axhspan(low, high, color=color, alpha=0.13, linewidth=0, zorder=1)
        axes.annotate(
            f"{value:+.1f}".replace("-", "−"),
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=7,
            annotation_clip=False,
        )
    _draw_dots(axes, means, differences, present, size=9)
    axes.set_xlim(_at_least(axes.get_xlim(), _LEAST_MEANS * max(means)))
    axes.set_ylim(_at_least(axes.get_ylim(), _LEAST_DIFFERENCES * max(means)))
    axes.locator_params(axis="x", nbins=3)


def _at_least(limits: tuple[float, float], span: float) -> tuple[float, float]:
    """Return the limits of an axis, no closer than `span`, or one case would be seen as under a microscope."""
    low, high = limits
    room = max(0.0, span - (high - low)) / 2
    return low - room, high + room


def _save(figure: "Figure", path: Path) -> list[Path]:
    """Write a figure as `path`.svg and `path`.png, and return them."""
    written = [path.with_name(f"{path.name}{suffix}") for suffix in (".svg", ".png")]
    for file in written:
        metadata = {"Date": None} if file.suffix == ".svg" else {}
        with atomic_path(file) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # a name in a script the font lacks shows boxes
            figure.savefig(temporary, format=file.suffix[1:], dpi=_DPI, metadata=metadata)
    return written
