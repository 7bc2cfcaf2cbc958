"""The report: one HTML file that needs nothing else, made of what an evaluation left in its folder."""

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgan.errors import MedganError
from medgan.evaluation.metrics import metric_named, value_of
from medgan.evaluation.scores import Score
from medgan.evaluation.statistics import MIN_INTERVAL_CASES
from medgan.files import write_text
from medgan.report.failing import counts_as, describe_failure, describe_lane, failing_organs
from medgan.report.page import environment, inline_hash, json_for_page, package_text, policy
from medgan.report.page_data import page_data, reading_order
from medgan.report.ranking import pictured_cases, worst_first
from medgan.report.scores_csv import read_scores_csv
from medgan.report.summary import Summary, check_same_evaluation, read_summary
from medgan.report.viewer import ViewerScript, viewer_data, viewer_script

MAX_NAMED = 12  # cases with an organ missed or invented that are named at the top, per organ
MAX_SHORT = 8  # lines of a notice that are shown without scrolling
MAX_PRINTED = 20  # organs up to which paper has the table of every metric, and not only of the one chosen
MAX_IN_LINE = 6  # settings of one group that fit beside each other
_HEAD_SCRIPT = 'document.documentElement.classList.add("js");'
_SCRIPTS = ("report_plots.js", "report_cases.js", "report.js")  # one module, in this order


@dataclass(frozen=True)
class Picture:
    """A picture of one case, as base64 PNG."""

    case_id: str
    png: str
    is_worst: bool  # or it is a typical one
    worst_organ: Score | None  # None where it has no organ at all


def write_report(folder: str | Path) -> Path:
    """Write `report.html` into `folder` and return it.

    It is made of scores.csv, summary.json, overlays/<case_id>.png and viewer/ there, the last two if they exist. The
    page holds its style, scripts, scores and pictures itself, loads nothing, and forbids the browser to.

    Raises:
        MedganError: if scores.csv or summary.json is missing, damaged, or the two are of different evaluations.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MedganError(f"folder {folder} must hold the results of `medgan evaluate`, but there is no such folder.")
    scores, summary = read_scores_csv(folder / "scores.csv"), read_summary(folder / "summary.json")
    check_same_evaluation(scores, summary, folder)
    metrics = {name: metric_named(name) for name in reading_order(summary.metrics)}
    groups = _groups(summary)
    viewer_cases = viewer_data(folder / "viewer", pictured_cases(scores, summary.num_cases))
    page = environment().get_template("report.html.j2")
    text = page.render(
        summary=summary,
        metrics=metrics,
        judged={name: metric for name, metric in metrics.items() if metric.better},
        groups=groups,
        failures=_failures(summary, groups),
        failing=failing_organs(scores, summary),
        describe_failure=lambda failure: describe_failure(failure, summary, metrics),
        counts_as=lambda metric, failure: counts_as(metric, failure, summary),
        lanes={name: describe_lane(name, scores, summary) for name in metrics},
        not_evaluated=sorted(summary.not_evaluated.items(), key=lambda item: _natural(item[0])),
        min_interval_cases=MIN_INTERVAL_CASES,
        max_named=MAX_NAMED,
        max_short=MAX_SHORT,
        max_printed=MAX_PRINTED,
        worst_values=_worst_values(scores, summary),
        pictures=_pictures(scores, summary, folder / "overlays"),
        record=_record(summary),
        data=json_for_page(page_data(scores, summary) | {"viewer": [case.case_id for case in viewer_cases]}),
        viewer_cases=viewer_cases,
        **_inline_parts(viewer_script() if viewer_cases else None),
    )
    write_text(folder / "report.html", text)
    return folder / "report.html"


def _groups(summary: Summary) -> dict[str, list[str]]:
    """Return the groups among what was scored and the organs of each; none where the labels are not on record."""
    labels = summary.settings.get("labels")
    scored = {organ.organ for organ in summary.organs}
    if not isinstance(labels, Mapping):
        return {}
    return {
        name: list(map(str, details["organs"]))
        for name, details in labels.items()
        if name in scored and isinstance(details, Mapping) and isinstance(details.get("organs"), list)
    }


def _failures(summary: Summary, groups: Collection[str]) -> dict[str, int]:
    """Return how often an organ was to be found and was missed, or not there and invented; groups count no organ twice.

    Each is an organ of a case.
    """
    organs = [organ for organ in summary.organs if organ.organ not in groups]
    num_missed, num_invented = (sum(getattr(o, name) for o in organs) for name in ("num_missed", "num_invented"))
    not_there = num_invented + sum(organ.num_absent for organ in organs)
    to_find = sum(organ.num_cases for organ in organs) - not_there
    return {"missed": num_missed, "to_find": to_find, "invented": num_invented, "not_there": not_there}


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts as people do: case_2 before case_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _worst_values(scores: Sequence[Score], summary: Summary) -> dict[tuple[str, str], float]:
    """Return the value of the worst case, by organ and metric, where one is named."""
    by_place = {(score.organ, score.case_id): score for score in scores}
    return {
        (organ.organ, name): value_of(by_place[organ.organ, metric.worst_case], name, undefined=summary.undefined)
        for organ in summary.organs
        for name, metric in organ.metrics.items()
        if (organ.organ, metric.worst_case) in by_place
    }


def _pictures(scores: Sequence[Score], summary: Summary, folder: Path) -> list[Picture]:
    """Return the pictures to show, worst cases first. The folder is listed, so that no case id is ever made a path."""
    found = {path.stem: path for path in folder.glob("*.png")}
    chosen = pictured_cases(scores, summary.evaluation["pictures"])
    ranked = pictured_cases(scores, summary.num_cases)
    worst_organs = {score.case_id: score for score in reversed(worst_first(scores))}
    num_worst = next((i for i, pair in enumerate(zip(chosen, ranked, strict=False)) if pair[0] != pair[1]), len(chosen))
    return [
        Picture(
            case_id,
            base64.b64encode(found[case_id].read_bytes()).decode(),
            is_worst=place < num_worst,
            worst_organ=worst_organs.get(case_id),
        )
        for place, case_id in enumerate(chosen)
        if case_id in found
    ]


def _record(summary: Summary) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what is on record under a heading each: the run, whatever groups its settings have, software."""
    plain = {name: value for name, value in summary.settings.items() if not isinstance(value, Mapping)}
    groups = {name: value for name, value in summary.settings.items() if isinstance(value, Mapping) and value}
    named = {"run": plain, "evaluation": summary.evaluation, **groups, "software": summary.versions}
    return [(name.replace("_", " ").capitalize(), _flattened(values)) for name, values in named.items() if values]


def _flattened(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as dotted names with their values as text; the innermost ones, if few, in one line."""
    lines: list[tuple[str, str]] = []
    for name, value in settings.items():
        if not isinstance(value, Mapping):
            lines.append((f"{prefix}{name}", _text(value)))
        elif len(value) <= MAX_IN_LINE and not any(isinstance(inner, Mapping) for inner in value.values()):
            lines.append((f"{prefix}{name}", "; ".join(f"{key} {_text(inner)}" for key, inner in value.items())))
        else:
            lines += _flattened(value, f"{prefix}{name}.")
    return lines


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        texts = [str(part) for part in value]
        are_sentences = bool(texts) and all(text.endswith(".") for text in texts)
        return (" " if are_sentences else ", ").join(texts) or "none"
    return "none" if value is None else str(value)


def _inline_parts(viewer: ViewerScript | None) -> dict[str, Any]:
    """Return style and scripts, with a policy that admits them, the viewer's, and nothing else."""
    from markupsafe import Markup  # noqa: PLC0415 - not needed to import the room

    style = package_text("templates/report.css")
    script = "\n".join(package_text(f"templates/{name}") for name in _SCRIPTS)
    own = {
        "img-src": ["data:"],
        "style-src": [inline_hash(style)],
        "script-src": [inline_hash(_HEAD_SCRIPT), inline_hash(script)],
    }
    added = viewer.directives if viewer else {}
    return {
        "style": Markup(style),  # these are ours: no input in them
        "head_script": Markup(_HEAD_SCRIPT),
        "script": Markup(script),
        "policy": policy({name: [*own.get(name, ()), *added.get(name, "").split()] for name in {**own, **added}}),
        "viewer": viewer,
    }
