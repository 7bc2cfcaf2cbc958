"""The organs of a task, and what the values of a label volume mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from medgan.errors import MedganError
from medgan.files import write_text
from medgan.labels.inline import parse_text
from medgan.labels.names import words_of
from medgan.labels.organ import CodedTerm, Organ, OrganGroup
from medgan.labels.parse import Background, details_of_group, details_of_organ, parse_mapping
from medgan.labels.translate import fill_in_parts, smallest_type, translate
from medgan.strict_yaml import read_yaml


@dataclass(frozen=True)
class LabelMap:
    """The organs of a task, in order of their values.

    Inside the networks an organ is a class index: 0 is the background, `organs[0]` is 1, and so on. In files it is the
    organ's `value`. `to_classes` and `to_values` translate.

    Attributes:
        organs: by their values.
        groups: organs that are scored together as well.
        ignored: values of voxels that nobody labelled: as classes they are background, in scores they do not count.
        background: values besides 0 that are background; "others" are all that are not named.

    Example:
        >>> labels = LabelMap.from_mapping({"left_lung": 1, "right_lung": 2, "heart": 3})
        >>> labels.names
        ('left_lung', 'right_lung', 'heart')
        >>> labels.organs[0].mirror
        'right_lung'
    """

    organs: tuple[Organ, ...]
    groups: tuple[OrganGroup, ...] = ()
    ignored: tuple[int, ...] = ()
    background: Background = ()

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, where: str = "labels") -> "LabelMap":
        """Build a map from `{name: value}` or `{name: {value, merge, color, code, mirror, synonyms}}`, or a mix.

        `{name: {organs: [...], color}}` is a group. `ignore` is a value or a list of values, `background` likewise or
        "others". Left and right organs whose names differ in that word alone ("left_lung", "right_lung") become mirror
        partners unless `mirror` says otherwise.

        Raises:
            MedganError: with all problems listed; `where` names the source in the message.
        """
        parsed = parse_mapping(mapping, where=where)
        return cls(parsed.organs, parsed.groups, parsed.ignored, parsed.background)

    @classmethod
    def from_text(cls, text: str, *, where: str = "--labels") -> "LabelMap":
        """Build a map from the inline form, `name=value` joined by commas.

        `heart=51+52` has two values; `lungs=1+2` is a group where 1 and 2 are other organs of the text. `ignore=255`
        and `background=7+8`, or `background=others`, are as in a labels file.

        Raises:
            MedganError: with all problems listed; `where` names the source in the message.

        Example:
            >>> labels = LabelMap.from_text("lung_left=1, lung_right=2, lungs=1+2, heart=3")
            >>> labels.names, labels.groups[0].organs
            (('lung_left', 'lung_right', 'heart'), ('lung_left', 'lung_right'))
        """
        return cls.from_mapping(parse_text(text, where=where), where=where)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "LabelMap":
        """Read a labels file, whose simplest form is one line `heart: 3` per organ.

        Raises:
            MedganError: if the file is missing, is not YAML, names an organ twice, or is not a valid map.
        """
        where = f"labels file {path}"
        document, _ = read_yaml(Path(path), where=where)
        return cls.from_mapping(document, where=where)

    def to_mapping(self) -> dict[str, object]:
        """Return the map in its detailed form, ready for YAML or JSON; `from_mapping` reads it back unchanged."""
        mapping: dict[str, object] = {organ.name: details_of_organ(organ) for organ in self.organs}
        mapping |= {group.name: details_of_group(group) for group in self.groups}
        if self.ignored:
            mapping["ignore"] = list(self.ignored)
        if self.background:
            mapping["background"] = self.background if self.background == "others" else list(self.background)
        return mapping

    def to_yaml(self, path: str | Path) -> None:
        """Write the map to a labels file, atomically."""
        write_text(path, yaml.safe_dump(self.to_mapping(), sort_keys=False))

    @property
    def names(self) -> tuple[str, ...]:
        """The organ names, in class order."""
        return tuple(organ.name for organ in self.organs)

    @property
    def names_to_score(self) -> tuple[str, ...]:
        """The organ names, in class order, then those of the groups."""
        return (*self.names, *(group.name for group in self.groups))

    @property
    def values(self) -> tuple[int, ...]:
        """The organ values, in class order, without merged ones."""
        return tuple(organ.value for organ in self.organs)

    @property
    def num_classes(self) -> int:
        """The number of classes with the background."""
        return len(self.organs) + 1

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16] | type[np.uint32]:
        """The smallest integer type that holds every organ's own value."""
        return smallest_type(self.values[-1])

    @property
    def is_plain(self) -> bool:
        """Whether each organ has one value and any other but 0 is refused; groups do not matter."""
        return not self.ignored and not self.background and not any(organ.merge for organ in self.organs)

    @cached_property
    def mirrored_classes(self) -> tuple[int, ...]:
        """For each class index, the class it becomes when the volume is mirrored left to right."""
        position = {organ.name: index + 1 for index, organ in enumerate(self.organs)}
        return (0, *(position[organ.mirror or organ.name] for organ in self.organs))

    def classes_of(self, name: str) -> tuple[int, ...]:
        """Return the class index of an organ, or those of a group's organs in rising order."""
        members = next((group.organs for group in self.groups if group.name == name), (name,))
        return tuple(sorted(self.names.index(member) + 1 for member in members))

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
            side = words_of(name)[0] or words_of(code.meaning if code else "")[0]
            coded = [organ for organ in coded if words_of(organ.name)[0] in ("", side)]
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

        Merged values are their organ, ignored ones and those of the background are 0.

        Raises:
            MedganError: if a value is neither 0 nor in the map; `where` names the file or case.
        """
        others = 0 if self.background == "others" else None
        classes = translate(values, self._class_of_value, others=others)
        if classes is None:
            unknown = sorted(set(np.unique(values).tolist()) - set(self._class_of_value))
            listed = [f"{'+'.join(map(str, organ.all_values))} {organ.name}" for organ in self.organs]
            extra = [f"{value} {name}" for name, each in self._others() for value in each]
            raise MedganError(
                f"{where}: label values {unknown[:8]} are not in the label map (0 background, "
                f"{', '.join(listed + extra)}); add them to the labels file or correct the label."
            )
        return classes

    def to_values(self, classes: np.ndarray) -> np.ndarray:
        """Return label values, uint8, uint16 or uint32, of an array of class indices: of each organ its own value."""
        values = np.empty_like(classes, dtype=self.dtype)
        fill_in_parts(values, classes, np.array([0, *self.values]).__getitem__)
        return values

    def to_own_values(self, values: np.ndarray, *, where: str) -> np.ndarray:
        """Return label values with each organ's own in place of merged ones, and 0 for ignored and background ones.

        A plain map changes nothing, and checks nothing.

        Raises:
            MedganError: as for `to_classes`, unless the map is plain.
        """
        return values if self.is_plain else self.to_values(self.to_classes(values, where=where))

    def ignored_voxels(self, values: np.ndarray) -> np.ndarray | None:
        """Return where label values are ignored, as bool; None if that is nowhere."""
        if not self.ignored:
            return None
        ignored = values == self.ignored[0]
        for value in self.ignored[1:]:
            ignored |= values == value
        return ignored if ignored.any() else None

    @cached_property
    def _class_of_value(self) -> dict[int, int]:
        classes = {value: index for index, organ in enumerate(self.organs, start=1) for value in organ.all_values}
        return {0: 0} | {value: 0 for _, values in self._others() for value in values} | classes

    def _others(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Return the listed values that are no organ's, and what they are."""
        background = () if self.background == "others" else self.background
        return ("background", background), ("ignored", self.ignored)

    def _called(self, name: str) -> list[Organ]:
        for claims in (
            [organ for organ in self.organs if organ.name == name],
            [organ for organ in self.organs if name in organ.synonyms],
            [organ for organ in self.organs if words_of(name) in map(words_of, (organ.name, *organ.synonyms))],
        ):
            if claims:
                return claims
        return []
