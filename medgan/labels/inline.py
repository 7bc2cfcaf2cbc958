"""Labels as a user types them on a command line: "lung_left=1,lung_right=2,heart=3"."""

import re

from medgan.errors import raise_all
from medgan.labels.names import RESERVED_NAMES


def parse_text(text: str, *, where: str) -> dict[str, object]:
    """Return the mapping of a labels file that says the same as an inline text; see `LabelMap.from_text`.

    Raises:
        MedganError: with all problems listed.
    """
    problems: list[str] = []
    entries: dict[str, list[int]] = {}
    mapping: dict[str, object] = {}
    for part in text.split(","):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        if not name or not equals or not values:
            problems.append(f"must be like 'lung_left=1,lung_right=2', found {part.strip()!r:.80}.")
        elif name in entries or name in mapping:
            problems.append(f"{name} stands there twice.")
        elif name == "background" and values == "others":
            mapping[name] = values
        elif not re.fullmatch(r"[0-9]{1,40}(\s*\+\s*[0-9]{1,40})*", values):
            problems.append(f"{name} must have a whole number, or several joined by '+', found {values!r:.80}.")
        else:
            entries[name] = [int(value) for value in values.split("+")]
    mapping |= {name: entries.pop(name) for name in RESERVED_NAMES if name in entries}
    mapping |= _organs_and_groups(entries, problems)
    raise_all(problems, where=where)
    return mapping


def _organs_and_groups(entries: dict[str, list[int]], problems: list[str]) -> dict[str, object]:
    """Return what each entry is, in their order: an organ, or a group if all its values are those of other organs.

    Entries with fewer values are organs first, so "lungs=1+2" is a group beside "left=1" wherever it stands.
    """
    organs: dict[str, list[int]] = {}
    groups: dict[str, list[str]] = {}
    for name, values in sorted(entries.items(), key=lambda entry: len(entry[1])):
        members = [organ for organ, own in organs.items() if set(own) & set(values)]
        covered = {value for member in members for value in organs[member]}
        if len(members) > 1 and covered == set(values):
            groups[name] = members
        elif len(values) > 1 and members and covered != set(values):
            problems.append(
                f"{name} must have values of its own, or be a group of whole organs, but of {_joined(values)} it "
                f"shares {_joined(sorted(covered & set(values)))} with {' and '.join(members)}."
            )
        else:
            organs[name] = values
    return {
        name: {"organs": groups[name]} if name in groups else {"value": values[0], "merge": values[1:] or None}
        for name, values in entries.items()
    }


def _joined(values: list[int]) -> str:
    return "+".join(map(str, values))
