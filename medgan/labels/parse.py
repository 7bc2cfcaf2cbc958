"""The mapping of a labels file, checked and turned into organs, groups, and values that are no organ's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard, TypeVar

from medgan.errors import MedganError, raise_all
from medgan.labels.colors import Color, default_color, parse_color
from medgan.labels.names import MAX_SYNONYM_LENGTH, RESERVED_NAMES, is_name, is_synonym, partner_by_name, words_of
from medgan.labels.organ import CodedTerm, Organ, OrganGroup

Item = TypeVar("Item")
Background = tuple[int, ...] | Literal["others"]

_LARGEST_VALUE = 2**32 - 1
_DETAILS = ("value", "merge", "color", "code", "mirror", "synonyms")
_GROUP_DETAILS = ("organs", "color")


@dataclass(frozen=True)
class Parsed:
    """What a labels file says; see `LabelMap`."""

    organs: tuple[Organ, ...]
    groups: tuple[OrganGroup, ...]
    ignored: tuple[int, ...]
    background: Background


def parse_mapping(mapping: Mapping[str, object], *, where: str) -> Parsed:
    """Return what a mapping says; organs in the order of their values.

    Raises:
        MedganError: with all problems listed; `where` names the source in the message.
    """
    if not isinstance(mapping, Mapping) or not mapping:
        raise MedganError(f"{where}: must map organ names to values, as in 'heart: 3'; found {mapping!r:.80}.")
    problems: list[str] = []
    special = {key: mapping[key] for key in RESERVED_NAMES if key in mapping}
    entries = {name: detail for name, detail in mapping.items() if name not in special}
    group_details = {
        name: detail for name, detail in entries.items() if isinstance(detail, Mapping) and "organs" in detail
    }
    names = [name for name in entries if name not in group_details]
    if not names:
        problems.append("must name at least one organ, as in 'heart: 3'.")
    organs = [
        organ
        for index, name in enumerate(names)
        if (organ := _organ_from(name, entries[name], names, index, problems)) is not None
    ]
    groups = [
        group
        for index, (name, detail) in enumerate(group_details.items(), start=len(names))
        if (group := _group_from(name, detail, names, index, problems)) is not None
    ]
    ignored = _values_from(special["ignore"], "ignore", problems) if "ignore" in special else ()
    background = _background_from(special["background"], problems) if "background" in special else ()
    problems += _conflicts(organs, ignored, background)
    raise_all(problems, where=where)
    return Parsed(tuple(sorted(organs, key=lambda organ: organ.value)), tuple(groups), ignored, background)


def details_of_organ(organ: Organ) -> dict[str, object]:
    """Return an organ in the detailed form of a labels file."""
    details: dict[str, object] = {"value": organ.value, "color": list(organ.color)}
    if organ.merge:
        details["merge"] = list(organ.merge)
    if organ.code:
        details["code"] = {"scheme": organ.code.scheme, "value": organ.code.value, "meaning": organ.code.meaning}
    if organ.mirror:
        details["mirror"] = organ.mirror
    if organ.synonyms:
        details["synonyms"] = list(organ.synonyms)
    return details


def details_of_group(group: OrganGroup) -> dict[str, object]:
    """Return a group in the form of a labels file."""
    return {"organs": list(group.organs), "color": list(group.color)}


def _organ_from(name: object, detail: object, names: Sequence[str], index: int, problems: list[str]) -> Organ | None:
    details = detail if isinstance(detail, Mapping) else {"value": detail}
    problems += _unknown_keys("organ", name, details, known=_DETAILS)
    if not _named(name, "organ", problems):
        return None
    value, merge, color, code, mirror, synonyms = (details.get(key) for key in _DETAILS)
    if not _is_value(value):
        problems.append(f"organ {name}: value must be a whole number from 1 to {_LARGEST_VALUE}, found {value!r:.80}.")
        return None
    if mirror is None:
        mirror = partner_by_name(str(name), names)
    elif mirror not in names:
        problems.append(f"organ {name}: mirror partner {mirror!r:.80} is not one of the organs.")
    return Organ(
        str(name),
        value,
        _color_from(color, f"organ {name}", index, problems),
        _code_from(code, name, problems),
        str(mirror) if mirror in names else None,
        _synonyms_from(synonyms, name, problems),
        () if merge is None else _values_from(merge, f"organ {name}: merge", problems),
    )


def _group_from(
    name: object, detail: Mapping[str, object], names: Sequence[str], index: int, problems: list[str]
) -> OrganGroup | None:
    problems += _unknown_keys("group", name, detail, known=_GROUP_DETAILS)
    if not _named(name, "group", problems):
        return None
    members = detail["organs"]
    if not isinstance(members, list | tuple) or not members or any(not isinstance(each, str) for each in members):
        problems.append(f"group {name}: organs must be a list of at least one organ's name, found {members!r:.80}.")
        return None
    problems += [f"group {name}: {each!r:.80} is not one of the organs." for each in members if each not in names]
    problems += [f"group {name}: lists {each} twice." for each in _repeated(members)]
    return OrganGroup(str(name), tuple(members), _color_from(detail.get("color"), f"group {name}", index, problems))


def _named(name: object, what: str, problems: list[str]) -> bool:
    """Return whether an organ or group has a name, and note if it has none."""
    if is_name(name):
        return True
    problems.append(f"{what} name {name!r:.80} must be text of letters, digits, space, '_', '-' and '.'.")
    return False


def _unknown_keys(what: str, name: object, details: Mapping[str, object], *, known: Sequence[str]) -> list[str]:
    return [f"{what} {name}: unknown key {key!r}; known are {', '.join(known)}." for key in details if key not in known]


def _is_value(value: object) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= _LARGEST_VALUE


def _values_from(found: object, what: str, problems: list[str]) -> tuple[int, ...]:
    listed = list(found) if isinstance(found, list | tuple) else [found]
    values = tuple(value for value in listed if _is_value(value))
    if listed and len(values) == len(listed):
        return values
    problems.append(
        f"{what} must be a whole number from 1 to {_LARGEST_VALUE}, or a list of such, found {found!r:.80}."
    )
    return ()


def _background_from(found: object, problems: list[str]) -> Background:
    """Return the values besides 0 that are background; 0 may be listed, as it is elsewhere."""
    if found == "others":
        return "others"
    values = list(found) if isinstance(found, list | tuple) else [found]
    besides = [value for value in values if type(value) is not int or value != 0]
    if values and not besides:
        return ()
    return _values_from(
        besides if isinstance(found, list | tuple) else found, "background, unless it is 'others',", problems
    )


def _color_from(color: object, what: str, index: int, problems: list[str]) -> Color:
    if color is None:
        return default_color(index)
    if (parsed := parse_color(color)) is not None:
        return parsed
    problems.append(f"{what}: color must be '#rrggbb' or three numbers from 0 to 255, found {color!r:.80}.")
    return (0, 0, 0)


def _code_from(code: object, name: object, problems: list[str]) -> CodedTerm | None:
    if code is None:
        return None
    if isinstance(code, Mapping) and set(code) == {"scheme", "value", "meaning"}:
        return CodedTerm(str(code["scheme"]), str(code["value"]), str(code["meaning"]))
    problems.append(f"organ {name}: code must have scheme, value and meaning, found {code!r:.80}.")
    return None


def _synonyms_from(synonyms: object, name: object, problems: list[str]) -> tuple[str, ...]:
    if synonyms is None:
        return ()
    if isinstance(synonyms, list | tuple) and all(map(is_synonym, synonyms)):
        return tuple(synonyms)
    problems.append(
        f"organ {name}: synonyms must be a list of names of 1 to {MAX_SYNONYM_LENGTH} characters, "
        f"found {synonyms!r:.80}."
    )
    return ()


def _conflicts(organs: Sequence[Organ], ignored: tuple[int, ...], background: Background) -> list[str]:
    owners = [(organ.name, organ.all_values) for organ in organs]
    owners += [("ignore", ignored), ("background", () if background == "others" else background)]
    by_value: dict[int, list[str]] = {}
    for name, values in owners:
        for value in dict.fromkeys(values):
            by_value.setdefault(value, []).append(name)
    twice = [f"{name}: lists value {value} twice." for name, values in owners for value in _repeated(values)]
    twice += [f"value {value} is used by {', '.join(n)}." for value, n in sorted(by_value.items()) if len(n) > 1]
    by_name = {organ.name: organ for organ in organs}
    one_sided = [
        f"organ {organ.name}: its mirror partner {organ.mirror} must name it back, but names {partner.mirror!r}."
        for organ in organs
        if organ.mirror and (partner := by_name.get(organ.mirror)) and partner.mirror != organ.name
    ]
    return twice + one_sided + list(_shared_synonyms(organs))


def _shared_synonyms(organs: Sequence[Organ]) -> Iterable[str]:
    """Yield a sentence for each synonym that is, by its words, also a name or synonym of another organ."""
    owners: dict[object, Organ] = {}
    for organ in organs:
        owners.setdefault(words_of(organ.name), organ)
    for organ in organs:
        for synonym in organ.synonyms:
            owner = owners.setdefault(words_of(synonym), organ)
            if owner is not organ:
                yield f"synonym {synonym!r} of {organ.name} also stands for {owner.name}."


def _repeated(items: Sequence[Item]) -> list[Item]:
    return [item for item in dict.fromkeys(items) if items.count(item) > 1]
