"""What a label map is made of: organs with their coded terms, and groups of them."""

from dataclasses import dataclass

from medgan.labels.names import words_of


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
        merge: further values that mean it in label volumes that are read; it is written as `value`.
    """

    name: str
    value: int
    color: tuple[int, int, int]
    code: CodedTerm | None = None
    mirror: str | None = None
    synonyms: tuple[str, ...] = ()
    merge: tuple[int, ...] = ()

    @property
    def side(self) -> str:
        """The side its name speaks of: "left", "right", or "" for neither or both."""
        return words_of(self.name)[0]

    @property
    def all_values(self) -> tuple[int, ...]:
        """Every value that means it, its own first."""
        return (self.value, *self.merge)


@dataclass(frozen=True)
class OrganGroup:
    """Organs that are scored together as well, such as both lungs.

    Attributes:
        name: what reports call it; no organ has that name.
        organs: the names of its organs.
        color: red, green, blue, 0 to 255.
    """

    name: str
    organs: tuple[str, ...]
    color: tuple[int, int, int]
