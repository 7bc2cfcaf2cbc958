"""What names of organs say: their side and their other words, however a file spells them."""

import re
import unicodedata
from collections.abc import Sequence

RESERVED_NAMES = ("ignore", "background")
"""Keys of a labels file that say what values mean which are no organ's, so no organ can be called that."""

MAX_SYNONYM_LENGTH = 64  # what DICOM allows a segment label
_SIDES = {
    **dict.fromkeys(("left", "lt", "l", "sin", "sinister"), "left"),
    **dict.fromkeys(("right", "rt", "r", "dex", "dexter"), "right"),
}


def words_of(name: str) -> tuple[str, tuple[str, ...]]:
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


def partner_by_name(name: str, names: Sequence[str]) -> str | None:
    """Return the one of `names` that differs from `name` in the words left and right alone, if there is one."""
    swap = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    partner = re.sub("left|right|Left|Right", lambda match: swap[match.group()], name)
    return partner if partner != name and partner in names else None


def is_name(name: object) -> bool:
    """Return whether something can be the name of an organ or group."""
    return isinstance(name, str) and bool(re.fullmatch(r"[\w][\w .-]*", name))


def is_synonym(name: object) -> bool:
    """Return whether something can be a synonym of an organ: printable text of 1 to 64 characters, not blank."""
    return isinstance(name, str) and name.isprintable() and 0 < len(name.strip()) <= len(name) <= MAX_SYNONYM_LENGTH


def _singular(word: str) -> str:
    if len(word) < 4 or word.endswith(("ss", "us", "is", "as")):  # uterus, pelvis, pancreas
        return word
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")
