"""What every page of the report is made with: templates, numbers as text, and a policy that lets nothing else run."""

import base64
import hashlib
import importlib.resources
import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_DECIMALS = {"": 3, "mm": 2, "ml": 1, "%": 1, "count": 0}
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def environment() -> "Environment":
    """Return the environment of the templates: everything is escaped, and a name that is missing is an error.

    The filter `number` is `format_value`, `diagonals` is `diagonals_text`; `fragment` encodes a text for the part of an
    address after the #.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - not needed to import the room

    made = Environment(
        loader=PackageLoader("medgan.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": format_value, "diagonals": diagonals_text, "fragment": _fragment}
    return made


def _fragment(text: str) -> str:
    return quote(text, safe="", errors="replace")


def format_value(value: float, unit: str, decimals: int = 0) -> str:
    """Return a value in the digits that its unit deserves, a true minus, and a dash for NaN.

    Args:
        value: to be told.
        unit: "mm", "ml", "%", "count", or "" for a share from 0 to 1.
        decimals: that many more than the unit deserves, as for the mean of a count.
    """
    if math.isnan(value):
        return "–"
    text = f"{value:.{_DECIMALS[unit] + decimals}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def diagonals_text(penalty_mm: tuple[float, float]) -> str:
    """Return the smallest and the largest diagonal of the grids as "36.7 to 80.6 mm"; once if they are alike."""
    low, high = (f"{round(diagonal, 1):g}" for diagonal in penalty_mm)
    return f"{low} mm" if low == high else f"{low} to {high} mm"


def cases_text(count: int) -> str:
    """Return "1 case", "2 cases"."""
    return f"{count} case" if count == 1 else f"{count} cases"


def share_text(share: float) -> str:
    """Return a share in whole percent; a dash for NaN."""
    return "–" if math.isnan(share) else f"{share:.0%}"


def decimals_of(unit: str) -> int:
    """Return how many decimals `format_value` gives a unit."""
    return _DECIMALS[unit]


def package_text(name: str) -> str:
    """Return a text file of this package, such as "templates/report.css"."""
    return (importlib.resources.files("medgan.report") / name).read_text(encoding="utf-8")


def inline_hash(text: str) -> str:
    """Return the source expression by which a content security policy admits this one inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(sources: Mapping[str, Iterable[str]]) -> "Markup":
    """Return the content of a page's security policy: nothing is admitted but `sources`, by directive.

    Example:
        >>> policy({"img-src": ["data:"], "script-src": [inline_hash(script)]})
    """
    from markupsafe import Markup  # noqa: PLC0415 - not needed to import the room

    directives = (f"{name} {' '.join(dict.fromkeys(allowed))}" for name, allowed in sources.items() if allowed)
    return Markup("; ".join(["default-src 'none'", "base-uri 'none'", "form-action 'none'", *directives]))


def json_for_page(value: object) -> "Markup":
    """Return `value` (dicts, lists, text, finite numbers, None) as JSON that cannot end the script it stands in."""
    from markupsafe import Markup  # noqa: PLC0415 - not needed to import the room

    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return Markup(text)  # only < > & could end the element, and there are none left
