"""Organs: their names, values in a label volume, colours, coded terms and mirror partners."""

import colorsys
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import yaml

from medgan.errors import MedganError, raise_all
from medgan.files import write_text
from medgan.strict_yaml import read_yaml

_LARGEST_VALUE = 2**32 - 1
_LARGEST_TABLE = 65535  # values beyond are looked for one by one
_PART_VOXELS = 1 << 15
_DETAILS = ("value", "color", "code", "mirror", "synonyms")
_MAX_SYNONYM_LENGTH = 64  # what DICOM allows a segment label
_SIDES = {
    **dict.fromkeys(("left", "lt", "l", "sin", "sinister"), "left"),
    **dict.fromkeys(("right", "rt", "r", "dex", "dexter"), "right"),
}


@dataclass(frozen=True)
class CodedTerm:
    """A coded concept for DICOM objects: scheme designator ("SCT" for SNOMED CT), value and meaning."""

    scheme: str
    value: str
    meaning: str

    def is_same_as(self, other: "CodedTerm") -> bool:
        """Return whether two terms mean the same concept; "SRT" is what SNOMED CT was called in older objects."""
        if self.scheme == other.scheme or "SRT" not in (self.scheme, other.scheme):
            return (self.scheme, self.value) == (other.scheme, other.value)
        from pydicom.sr.coding import Code  # noqa: PLC0415  (its tables take a while to load)

        return bool(Code(self.value, self.scheme, "") == Code(other.value, other.scheme, ""))


@dataclass(frozen=True)
class Organ:
    """One organ of a `LabelMap`.

    Attributes:
        name: what users and reports call it.
        value: its voxel value in label volumes, 1 to 2**32 - 1 (0 is the background).
        color: red, green, blue, 0 to 255.
        code: the coded term for DICOM SEG, if known.
        mirror: the organ it becomes when the volume is mirrored left to right, if that is another one.
        synonyms: other names that files give it, or parts of it: parts of one organ are joined.
    """

    name: str
    value: int
    color: tuple[int, int, int]
    code: CodedTerm | None = None
    mirror: str | None = None
    synonyms: tuple[str, ...] = ()

    @property
    def side(self) -> str:
        """The side its name speaks of: "left", "right", or "" for neither or both."""
        return _words_of(self.name)[0]


@dataclass(frozen=True)
class LabelMap:
    """The organs of a task, in order of their values.

    Inside the networks an organ is a class index: 0 is the background, `organs[0]` is 1, and so on. In files it is the
    organ's `value`. `to_classes` and `to_values` translate.

    Example:
        >>> labels = LabelMap.from_mapping({"left_lung": 1, "right_lung": 2, "heart": 3})
        >>> labels.names
        ('left_lung', 'right_lung', 'heart')
        >>> labels.organs[0].mirror
        'right_lung'
    """

    organs: tuple[Organ, ...]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, where: str = "labels") -> "LabelMap":
        """Build a map from `{name: value}` or `{name: {value, color, code, mirror, synonyms}}`; both may be mixed.

        Left and right organs whose names differ in that word alone ("left_lung", "right_lung") become mirror partners
        unless `mirror` says otherwise.

        Raises:
            MedganError: with all problems listed; `where` names the source in the message.
        """
        if not isinstance(mapping, Mapping) or not mapping:
            raise MedganError(f"{where}: must map organ names to values, as in 'heart: 3'; found {mapping!r:.80}.")
        problems: list[str] = []
        names = [str(name) for name in mapping]
        organs = [
            organ
            for index, (name, detail) in enumerate(mapping.items())
            if (organ := _organ_from(name, detail, names, index, problems)) is not None
        ]
        problems += _conflicts(organs)
        raise_all(problems, where=where)
        return cls(tuple(sorted(organs, key=lambda organ: organ.value)))

    @classmethod
    def from_yaml(cls, path: str | Path) -> "LabelMap":
        """Read a labels file, whose simplest form is one line `heart: 3` per organ.

        Raises:
            MedganError: if the file is missing, is not YAML, names an organ twice, or is not a valid map.
        """
        where = f"labels file {path}"
        document, _ = read_yaml(Path(path), where=where)
        return cls.from_mapping(document, where=where)

    def to_mapping(self) -> dict[str, dict[str, object]]:
        """Return the map in its detailed form, ready for YAML or JSON; `from_mapping` reads it back unchanged."""
        return {organ.name: _details_of(organ) for organ in self.organs}

    def to_yaml(self, path: str | Path) -> None:
        """Write the map to a labels file, atomically."""
        write_text(path, yaml.safe_dump(self.to_mapping(), sort_keys=False))

    @property
    def names(self) -> tuple[str, ...]:
        """The organ names, in class order."""
        return tuple(organ.name for organ in self.organs)

    @property
    def values(self) -> tuple[int, ...]:
        """The organ values, in class order."""
        return tuple(organ.value for organ in self.organs)

    @property
    def num_classes(self) -> int:
        """The number of classes with the background."""
        return len(self.organs) + 1

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16] | type[np.uint32]:
        """The smallest integer type that holds every value."""
        return _smallest_type(self.values[-1])

    @cached_property
    def mirrored_classes(self) -> tuple[int, ...]:
        """For each class index, the class it becomes when the volume is mirrored left to right."""
        position = {organ.name: index + 1 for index, organ in enumerate(self.organs)}
        return (0, *(position[organ.mirror or organ.name] for organ in self.organs))

    def find(self, name: str, *, code: CodedTerm | None = None) -> Organ | None:
        """Return the organ that a file calls `name`, or None.

        An organ's own name counts first, then its synonyms, then both as words: without regard to case, separators
        and plural, and with a word for the side ("Lt", "l", "sin", ...) in any place. "Lung_L", "LUNG LEFT" and
        "Lt Lung" are `left_lung`; "lung" alone is not. A name that says nothing is helped by the coded term, but never
        to an organ of another side than the name, or else the meaning of the term, says.

        Args:
            name: segment label, ROI name, or file name.
            code: what the file codes it as, if it does.

        Raises:
            MedganError: if two organs have equal claims, or name and code say different ones.

        Example:
            >>> LabelMap.from_mapping({"left_lung": 1, "right_lung": 2}).find("Lung_R").name
            'right_lung'
        """
        by_name = self._called(name)
        coded = [organ for organ in self.organs if code and organ.code and organ.code.is_same_as(code)]
        if not by_name:
            side = _words_of(name)[0] or _words_of(code.meaning if code else "")[0]
            coded = [organ for organ in coded if _words_of(organ.name)[0] in ("", side)]
        claims = by_name or coded
        if by_name and coded and by_name[0] not in coded:
            claims = [*by_name, *coded]
        if len(claims) > 1:
            raise MedganError(
                f"its name and coded term could mean {' or '.join(organ.name for organ in claims)} of the label map; "
                "correct them, or tell the organs apart by their synonyms and codes in the labels file."
            )
        return claims[0] if claims else None

    def to_classes(self, values: np.ndarray, *, where: str) -> np.ndarray:
        """Return class indices, in the smallest unsigned type, of an integer array of label values.

        Raises:
            MedganError: if a value is neither 0 nor in the map; `where` names the file or case.
        """
        known = np.array([0, *self.values])
        classes = np.empty_like(values, dtype=_smallest_type(self.num_classes - 1))
        lookup: Callable[[np.ndarray], np.ndarray] = partial(_places_in, known)
        if values.min(initial=0) >= 0 and values.max(initial=0) <= _LARGEST_TABLE:
            table = np.full(_LARGEST_TABLE + 1, -1)
            table[known[known <= _LARGEST_TABLE]] = np.arange(np.count_nonzero(known <= _LARGEST_TABLE))
            lookup = table.__getitem__
        if not _fill_in_parts(classes, values, lookup):
            unknown = sorted(set(np.unique(values).tolist()) - set(known.tolist()))
            listed = ", ".join(f"{organ.value} {organ.name}" for organ in self.organs)
            raise MedganError(
                f"{where}: label values {unknown[:8]} are not in the label map (0 background, {listed}); "
                "add them to the labels file or correct the label."
            )
        return classes

    def to_values(self, classes: np.ndarray) -> np.ndarray:
        """Return label values, uint8, uint16 or uint32, of an array of class indices."""
        values = np.empty_like(classes, dtype=self.dtype)
        _fill_in_parts(values, classes, np.array([0, *self.values]).__getitem__)
        return values

    def _called(self, name: str) -> list[Organ]:
        for claims in (
            [organ for organ in self.organs if organ.name == name],
            [organ for organ in self.organs if name in organ.synonyms],
            [organ for organ in self.organs if _words_of(name) in map(_words_of, (organ.name, *organ.synonyms))],
        ):
            if claims:
                return claims
        return []


def _fill_in_parts(target: np.ndarray, source: np.ndarray, lookup: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Set `target` to what `lookup` gives for `source`; return False as soon as that is below 0.

    In parts that stay in the cache: numpy makes 8 bytes of every voxel that indexes a table.
    """
    with np.nditer(
        [target, source],
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["writeonly"], ["readonly"]],
        op_dtypes=[target.dtype, np.dtype(np.intp)],
        casting="same_kind",
        buffersize=_PART_VOXELS,
    ) as parts:
        for part, indices in parts:
            found = lookup(indices)
            if found.min(initial=0) < 0:
                return False
            part[...] = found
    return True


def _places_in(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return where each value stands among the sorted known ones, -1 for one that does not."""
    places = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[places] == values, places, -1)


def _smallest_type(largest: int) -> type[np.uint8] | type[np.uint16] | type[np.uint32]:
    return np.uint8 if largest <= 255 else np.uint16 if largest <= 65535 else np.uint32


def _words_of(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the side a name speaks of, "" for none or both, and its other words in their order.

    A name that speaks of both sides keeps them in place: "right atrium, left ventricle" is not "left atrium, right
    ventricle".
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    words = [_SIDES.get(word, word) for word in re.split(r"[\s_.,()-]+", text.casefold()) if word]
    sides = [word for word in words if word in ("left", "right")]
    if len(sides) != 1:
        return "", tuple(_singular(word) for word in words)
    return sides[0], tuple(_singular(word) for word in words if word != sides[0])


def _singular(word: str) -> str:
    if len(word) < 4 or word.endswith(("ss", "us", "is", "as")):  # uterus, pelvis, pancreas
        return word
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")


def _organ_from(name: object, detail: object, names: list[str], index: int, problems: list[str]) -> Organ | None:
    if isinstance(detail, Mapping):
        problems += [
            f"organ {name}: unknown key {key!r}; known are {', '.join(_DETAILS)}."
            for key in detail
            if key not in _DETAILS
        ]
        value, color, code, mirror, synonyms = (detail.get(key) for key in _DETAILS)
    else:
        value, color, code, mirror, synonyms = detail, None, None, None, None
    if not isinstance(name, str) or not re.fullmatch(r"[\w][\w .-]*", name):
        problems.append(f"organ name {name!r:.80} must be text of letters, digits, space, '_', '-' and '.'.")
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_VALUE:
        problems.append(f"organ {name}: value must be a whole number from 1 to {_LARGEST_VALUE}, found {value!r:.80}.")
        return None
    if mirror is None:
        mirror = _partner_by_name(name, names)
    elif mirror not in names:
        problems.append(f"organ {name}: mirror partner {mirror!r:.80} is not one of the organs.")
        mirror = None
    return Organ(
        name,
        value,
        _color_from(color, name, index, problems),
        _code_from(code, name, problems),
        mirror,
        _synonyms_from(synonyms, name, problems),
    )


def _partner_by_name(name: str, names: list[str]) -> str | None:
    swap = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    partner = re.sub("left|right|Left|Right", lambda match: swap[match.group()], name)
    return partner if partner != name and partner in names else None


def _color_from(color: object, name: str, index: int, problems: list[str]) -> tuple[int, int, int]:
    if color is None:  # hues a golden angle apart stay distinguishable for any number of organs
        red, green, blue = colorsys.hsv_to_rgb((0.58 + 0.381966 * index) % 1.0, 0.65, 0.95)
        return round(255 * red), round(255 * green), round(255 * blue)
    if isinstance(color, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        color = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    if isinstance(color, list | tuple) and len(color) == 3 and all(type(c) is int and 0 <= c <= 255 for c in color):
        return color[0], color[1], color[2]
    problems.append(f"organ {name}: color must be '#rrggbb' or three numbers from 0 to 255, found {color!r:.80}.")
    return (0, 0, 0)


def _code_from(code: object, name: str, problems: list[str]) -> CodedTerm | None:
    if code is None:
        return None
    if isinstance(code, Mapping) and set(code) == {"scheme", "value", "meaning"}:
        return CodedTerm(str(code["scheme"]), str(code["value"]), str(code["meaning"]))
    problems.append(f"organ {name}: code must have scheme, value and meaning, found {code!r:.80}.")
    return None


def _synonyms_from(synonyms: object, name: str, problems: list[str]) -> tuple[str, ...]:
    if synonyms is None:
        return ()
    if isinstance(synonyms, list | tuple) and all(map(is_synonym, synonyms)):
        return tuple(synonyms)
    problems.append(
        f"organ {name}: synonyms must be a list of names of 1 to {_MAX_SYNONYM_LENGTH} characters, "
        f"found {synonyms!r:.80}."
    )
    return ()


def is_synonym(name: object) -> bool:
    """Return whether something can be a synonym of an organ: printable text of 1 to 64 characters, not blank."""
    return isinstance(name, str) and name.isprintable() and 0 < len(name.strip()) <= len(name) <= _MAX_SYNONYM_LENGTH


def _conflicts(organs: list[Organ]) -> list[str]:
    by_value: dict[int, list[str]] = {}
    for organ in organs:
        by_value.setdefault(organ.value, []).append(organ.name)
    twice = [f"value {value} is used by {', '.join(n)}." for value, n in sorted(by_value.items()) if len(n) > 1]
    by_name = {organ.name: organ for organ in organs}
    one_sided = [
        f"organ {organ.name}: its mirror partner {organ.mirror} must name it back, but names {partner.mirror!r}."
        for organ in organs
        if organ.mirror and (partner := by_name.get(organ.mirror)) and partner.mirror != organ.name
    ]
    return twice + one_sided + list(_shared_synonyms(organs))


def _shared_synonyms(organs: list[Organ]) -> Iterable[str]:
    """Yield a sentence for each synonym that is, by its words, also a name or synonym of another organ."""
    owners: dict[object, Organ] = {}
    for organ in organs:
        owners.setdefault(_words_of(organ.name), organ)
    for organ in organs:
        for synonym in organ.synonyms:
            owner = owners.setdefault(_words_of(synonym), organ)
            if owner is not organ:
                yield f"synonym {synonym!r} of {organ.name} also stands for {owner.name}."


def _details_of(organ: Organ) -> dict[str, object]:
    details: dict[str, object] = {"value": organ.value, "color": list(organ.color)}
    if organ.code:
        details["code"] = {"scheme": organ.code.scheme, "value": organ.code.value, "meaning": organ.code.meaning}
    if organ.mirror:
        details["mirror"] = organ.mirror
    if organ.synonyms:
        details["synonyms"] = list(organ.synonyms)
    return details
