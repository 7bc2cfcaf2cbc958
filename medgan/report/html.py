"""The report: one HTML file that needs nothing else, made of what an evaluation left in its folder."""

import base64
import hashlib
import importlib.resources
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medgan.errors import MedganError
from medgan.evaluation.scores import METRICS, Score
from medgan.files import write_text
from medgan.report.plots import strip_plot
from medgan.report.summary import Summary, read_scores_csv, read_summary

if TYPE_CHECKING:
    from jinja2 import Template

MAX_OVERLAYS = 24  # pictures are most of the file; the worst cases come first
NUM_WORST = 10
_DECIMALS = {"": 3, "mm": 2, "ml": 1, "%": 1}


@dataclass(frozen=True)
class Overlay:
    """A picture of one case, as base64 PNG."""

    case_id: str
    png: str


def write_report(folder: Path) -> Path:
    """Write `report.html` into `folder` from its scores.csv, summary.json and overlays/<case_id>.png, and return it.

    The page holds its style, script, plots and pictures itself, loads nothing, and forbids the browser to.

    Raises:
        MedganError: if scores.csv or summary.json is missing, damaged, or the two are of different evaluations.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MedganError(f"folder {folder} must hold the results of `medgan evaluate`, but there is no such folder.")
    scores, summary = read_scores_csv(folder / "scores.csv"), read_summary(folder / "summary.json")
    _check_same_evaluation(scores, summary, folder)
    ranked = worst_first(scores)
    overlays = _overlays(folder, ranked)
    judged = {name: metric for name, metric in METRICS.items() if metric.better}
    page = _template().render(
        summary=summary,
        scores=scores,
        worst=ranked[:NUM_WORST],
        metrics=METRICS,
        judged=judged,
        plots=[strip_plot(name, scores, summary) for name in judged],
        anchors={case_id: f"case-{i}" for i, case_id in enumerate(dict.fromkeys(s.case_id for s in scores))},
        overlays=overlays,
        num_overlays_left_out=len({s.case_id for s in scores} & _pictures(folder).keys()) - len(overlays),
        settings=_flattened(summary.settings),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def worst_first(scores: Sequence[Score]) -> list[Score]:
    """Return the scores, organs missed or invented first, then by Dice, then by HD95; without organs in neither."""
    present = [score for score in scores if not score.is_absent]
    return sorted(present, key=lambda s: (s.dice, -math.inf if math.isnan(s.hd95_mm) else -s.hd95_mm))


def format_value(value: float, unit: str) -> str:
    """Return a value in the digits that its unit deserves, a true minus and a dash for NaN."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{_DECIMALS[unit]}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def _check_same_evaluation(scores: Sequence[Score], summary: Summary, folder: Path) -> None:
    organs, summarised = {score.organ for score in scores}, {organ.organ for organ in summary.organs}
    num_cases = len({score.case_id for score in scores})
    if organs != summarised or num_cases != summary.num_cases:
        raise MedganError(
            f"scores.csv and summary.json in {folder} must be of one evaluation, found {num_cases} cases of "
            f"{', '.join(sorted(organs))} and {summary.num_cases} cases of {', '.join(sorted(summarised))}. "
            "Run `medgan evaluate` again."
        )


def _pictures(folder: Path) -> dict[str, Path]:
    """Return the overlays by case id. They are listed, so that no case id is ever made a path."""
    return {path.stem: path for path in (folder / "overlays").glob("*.png")}


def _overlays(folder: Path, ranked: Sequence[Score]) -> list[Overlay]:
    pictures = _pictures(folder)
    chosen = [case_id for case_id in dict.fromkeys(score.case_id for score in ranked) if case_id in pictures]
    return [
        Overlay(case_id, base64.b64encode(pictures[case_id].read_bytes()).decode()) for case_id in chosen[:MAX_OVERLAYS]
    ]


def _flattened(settings: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as dotted names with their values as text."""
    lines: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines += _flattened(value, f"{prefix}{name}.")
        else:
            lines.append((f"{prefix}{name}", str(value)))
    return lines


def _template() -> "Template":
    """Return the page's template, with its own style and script and a policy that admits nothing else."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - not needed to import the room
    from markupsafe import Markup  # noqa: PLC0415 - likewise

    environment = Environment(
        loader=PackageLoader("medgan.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_value
    for kind, name in (("style", "report.css"), ("script", "report.js")):
        text = (importlib.resources.files("medgan.report") / "templates" / name).read_text(encoding="utf-8")
        environment.globals |= {kind: Markup(text), f"{kind}_hash": Markup(_content_hash(text))}  # ours: no input in it
    return environment.get_template("report.html.j2")


def _content_hash(text: str) -> str:
    """Return the source expression by which a content security policy admits this one inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
