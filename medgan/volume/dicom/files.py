"""One DICOM file: its header, read without its pixels, and what of it may be said.

Only keywords, numbers, UIDs and file names enter a message: every other value could name a person.
"""

import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from pydicom import config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from medgan.errors import MedganError

_DICOM_SUFFIXES = {".dcm", ".ima", ".dicom"}
_BARE_STARTS = (b"\x08\x00", b"\x02\x00")  # group 0008 or 0002 first: a data set without the 128-byte preamble
_HEAD_BYTES = 144
_DEFER_BYTES = 4096
_MAX_INFLATED_BYTES = 2**27
_MAX_SHOWN_NUMBERS = 8
_MAX_VALUE_BYTES = 1 << 20
_LEAST_PARTS = 30_000
_MOST_PARTS = 300_000
_BYTES_PER_PART = 12  # an honest contour takes some 250 bytes for its 20 reads
_MOST_ITEMS = 75_000  # parsed while a header is read, some 1.5 s: 30,000 contours with the image of each
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # the tag before an item, little and big endian
_ITEM_GROUP = 0xFFFE  # an element of an item only to who reads on past the item's end
_NUMBERS_AS_TEXT = {"DS", "IS"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_GROUP = 0x7FE0
_PIXEL_OFFSETS = (0x7FE00001, 0x7FE00002)


@dataclass(frozen=True, eq=False)
class DicomFile:
    """One DICOM file, or one frame of it: its path and its header, with long values (pixels) left on disk.

    Attributes:
        path: where its bytes are.
        header: its elements, without private ones.
        shown: what messages call it where that is not its path ("study.zip: a/IM1.dcm").
    """

    path: Path
    header: Dataset
    shown: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return printable(self.shown or str(self.path))

    @property
    def short_name(self) -> str:
        """The last part of its name, for messages that name the folder already."""
        return PurePath(self.name).name

    def text(self, keyword: str) -> str:
        """Return an element as text, "" if it is absent or empty. Not for messages.

        Raises:
            MedganError: if it is bytes or a sequence, or cannot be decoded.
        """
        value = self.value(keyword)
        if isinstance(value, bytes | Sequence):
            raise MedganError(f"{self.name} is damaged: its {keyword} is of another kind than it must be.")
        return "" if value is None else str(value)

    def uid(self, keyword: str) -> str:
        """Return an element as text if it is a UID, which messages may show, else ""."""
        text = self.text(keyword)
        return text if re.fullmatch(r"[0-9.]{1,64}", text) else ""

    @property
    def sop_class(self) -> UID:
        """The SOPClassUID, or where the header has none that of the file meta information."""
        found = self.text("SOPClassUID") or self._of_meta("MediaStorageSOPClassUID")
        return UID(found, validation_mode=config.IGNORE)

    @property
    def transfer_syntax(self) -> UID:
        """The TransferSyntaxUID; implicit VR little endian where there is none. It may be no valid UID."""
        return UID(self._of_meta("TransferSyntaxUID") or ImplicitVRLittleEndian, validation_mode=config.IGNORE)

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """Return the `count` finite numbers of an element.

        Raises:
            MedganError: if it is absent, of another kind, has another number of values, or is not finite.
        """
        element = self._element(keyword)
        if element is None or element.value is None or element.value == "":
            raise MedganError(f"{self.name} has no {keyword}, and without it a scan has no geometry or values.")
        values = list(element.value) if isinstance(element.value, MultiValue | list) else [element.value]
        if not all(isinstance(value, Real) for value in values):
            raise MedganError(f"{self.name} must have {count} numbers in {keyword}, found text.")
        if (element.VR in _NUMBERS_AS_TEXT) != (dictionary_VR(element.tag) in _NUMBERS_AS_TEXT):
            raise MedganError(f"{self.name} is damaged: its {keyword} is of another kind than it must be.")
        numbers = np.array(values, dtype=np.float64)
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            found = numbers.tolist() if numbers.size <= _MAX_SHOWN_NUMBERS else f"{numbers.size} numbers"
            raise MedganError(f"{self.name} must have {count} finite numbers in {keyword}, found {found}.")
        return numbers

    def integer(self, keyword: str, *, default: int = 0) -> int:
        """Return a whole-number element, `default` if it is absent or empty.

        Raises:
            MedganError: if it is not one whole number.
        """
        if self.value(keyword) in (None, ""):
            return default
        number = float(self.numbers(keyword, 1)[0])
        if not number.is_integer():
            raise MedganError(f"{self.name} must have a whole number in {keyword}, found {number:g}.")
        return int(number)

    def items(self, keyword: str, *, max_items: int | None = None) -> list["DicomFile"]:
        """Return the items of a sequence, each to be asked like the file it comes from; none if it is absent.

        Args:
            keyword: of the sequence.
            max_items: how many items it may have; None allows what the file's size makes likely for a scan.

        Raises:
            MedganError: if it is no sequence, cannot be decoded, or has more items.
        """
        element = self._element(keyword, max_items=max_items)
        if element is None or element.value is None:
            return []
        if element.VR != "SQ":
            raise MedganError(f"{self.name} is damaged: its {keyword} is no sequence.")
        if any(tag >> 16 == _ITEM_GROUP for item in element.value for tag in item.keys()):  # noqa: SIM118 - no decoding
            raise MedganError(f"{self.name} is damaged: items of its {keyword} run into one another; export it again.")
        return [replace(self, header=item) for item in element.value]

    def value(self, keyword: str) -> object:
        """Return an element as pydicom decodes it (sequences, say), None if it is absent. Not for messages."""
        element = self._element(keyword)
        return None if element is None else element.value

    def _of_meta(self, keyword: str) -> str:
        """Return an element of the file meta information as text."""
        return replace(self, header=getattr(self.header, "file_meta", Dataset())).text(keyword)

    def _element(self, keyword: str, *, max_items: int | None = None) -> DataElement | None:
        found: Any = self.header.get_item(keyword, keep_deferred=True)
        if found is None or (isinstance(found, DataElement) and found.VR != "SQ"):
            return found  # decoded before
        self._check_value(keyword, found, max_items)
        try:
            with quietly():
                return self.header[keyword]
        except Exception as error:  # pydicom converts on access, and damaged bytes raise many kinds
            raise MedganError(f"{self.name} is damaged: its {keyword} cannot be decoded.") from error

    def _check_value(self, keyword: str, element: Any, max_items: int | None) -> None:
        """Refuse a value left on disk that would take more memory than its kind is worth, before pydicom decodes it."""
        if not isinstance(element, RawDataElement) or element.value is not None:
            return
        if "SQ" in (element.VR, dictionary_VR(element.tag)):
            most = _most_parts(self.path) // 2 if max_items is None else max_items
            if (num_items := _count_items(self.path, element.value_tell, element.length)) > most:
                raise MedganError(
                    f"{self.name} is too large: its {keyword} has {num_items:,} sequence items, and {most:,} are read."
                )
        elif element.length > _MAX_VALUE_BYTES:
            raise MedganError(f"{self.name} is damaged: its {keyword} is too large, {element.length:,} bytes.")


def printable(name: str) -> str:
    """Return a file's name with escapes in place of what cannot be printed, such as line breaks."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)


def _count_items(path: Path, start: int, num_bytes: int) -> int:
    """Return how many items a sequence on disk holds, give or take one per piece read."""
    count = 0
    with path.open("rb") as file:
        file.seek(start)
        while num_bytes > 0 and (piece := file.read(min(num_bytes, _MAX_VALUE_BYTES))):
            count += sum(map(piece.count, _ITEMS))
            num_bytes -= len(piece)
    return count


class _HeaderReader(io.BufferedReader):
    """A file that never gives more than is honest: neither parts of a header without number, nor bytes without end."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(io.FileIO(str(path)))
        self._name, self._num_bytes = name, path.stat().st_size
        self._reads_left, self._items_left = 2 * _most_parts(path), _MOST_ITEMS

    def read(self, size: int | None = -1) -> bytes:
        """Return bytes, and count the call: pydicom reads element by element, and a deflated data set as a whole."""
        self._reads_left -= 1
        if min(self._reads_left, self._items_left) < 0:
            raise MedganError(f"{self._name} is damaged: the size of its header, in elements, exceeds the limit.")
        if size is not None and 0 <= size <= _DEFER_BYTES:
            part = super().read(size)
            self._items_left -= part[:4] in _ITEMS
            return part
        num_left = max(0, self._num_bytes - self.tell())
        if size is not None and size >= 0:
            return super().read(min(size, num_left))  # memory is taken for what is asked, not for what is there
        deflated = super().read(min(num_left, _MAX_INFLATED_BYTES + 1))
        _check_inflated(deflated, self._name)
        return deflated


def _most_parts(path: Path) -> int:
    """Return how many elements and items a header may have; a frame, which takes some 30, has pixels as well."""
    return min(max(_LEAST_PARTS, path.stat().st_size // _BYTES_PER_PART), _MOST_PARTS)


def read_header(path: Path, *, shown: str = "") -> DicomFile | None:
    """Return a DICOM file without its pixels, None for a file that is none and does not call itself one.

    Args:
        path: any file.
        shown: what messages call it, if not its path.

    Raises:
        MedganError: if it is or calls itself DICOM, but is damaged or cut off, or inflates without measure.
    """
    name, is_named_so = printable(shown or str(path)), path.suffix.lower() in _DICOM_SUFFIXES
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not looks_like_dicom(head):
        if is_named_so:
            found = "is empty (0 bytes)" if not head else "is not DICOM"
            raise MedganError(f"{name} {found} though its name says so; copy it again, or move it away.")
        return None
    has_preamble = head[128:132] == b"DICM"
    try:
        header = _read(path, name, has_preamble=has_preamble)
    except MedganError:
        raise
    except Exception as error:  # damaged bytes make pydicom raise many kinds, some of which quote the header
        if not (has_preamble or is_named_so):
            return None
        raise MedganError(f"{name} is a damaged DICOM file: its header cannot be decoded; copy it again.") from error
    if not (has_preamble or is_named_so or "Rows" in header):
        return None
    found_file = DicomFile(path, header, shown)
    _check_ends(found_file)
    _check_whole(found_file)
    return found_file


def looks_like_dicom(head: bytes) -> bool:
    """Return whether the first 144 bytes of a file could be a DICOM file's, with the preamble or without."""
    return head[128:132] == b"DICM" or (head[:2] in _BARE_STARTS and len(head) >= _HEAD_BYTES)


def is_named_as_dicom(name: str) -> bool:
    """Return whether a file calls itself DICOM by its suffix."""
    return PurePath(name).suffix.lower() in _DICOM_SUFFIXES


def _read(path: Path, name: str, *, has_preamble: bool) -> Dataset:
    header = _parsed(path, name, has_preamble=has_preamble, defer_bytes=_DEFER_BYTES)
    if DicomFile(path, header).transfer_syntax == DeflatedExplicitVRLittleEndian:
        header = _parsed(path, name, has_preamble=has_preamble, defer_bytes=None)  # no value can be read from disk
    for tag in [tag for tag in header.keys() if tag.is_private]:  # noqa: SIM118 - iterating would decode the values
        del header[tag]
    return header


def _parsed(path: Path, name: str, *, has_preamble: bool, defer_bytes: int | None) -> Dataset:
    with quietly(), _HeaderReader(path, name) as file:
        return dcmread(file, defer_size=defer_bytes, force=not has_preamble)


def _check_inflated(deflated: bytes, name: str) -> None:
    """Refuse a deflated data set that inflates without measure, before pydicom inflates it whole."""
    inflate, num_bytes, num_items = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0
    for start in range(0, len(deflated), 1 << 14):
        inflated = inflate.decompress(deflated[start : start + (1 << 14)])
        num_bytes, num_items = num_bytes + len(inflated), num_items + sum(map(inflated.count, _ITEMS))
        if num_bytes > _MAX_INFLATED_BYTES or num_items > _LEAST_PARTS:
            raise MedganError(
                f"{name} is too large: its deflated data set exceeds the limit of {_MAX_INFLATED_BYTES >> 20} MiB "
                f"and {_LEAST_PARTS} items."
            )


def _check_ends(file: DicomFile) -> None:
    """Refuse a header with a value left on disk that would end behind the end of the file; pixels are seen to later."""
    num_bytes = file.path.stat().st_size
    for tag in file.header.keys():  # noqa: SIM118 - iterating would decode the values
        element: Any = file.header.get_item(tag, keep_deferred=True)
        if not isinstance(element, RawDataElement) or (tag >> 16 == _PIXEL_GROUP and tag not in _PIXEL_OFFSETS):
            continue
        is_on_disk = element.value is None and element.length != _UNDEFINED_LENGTH
        if is_on_disk and element.value_tell + element.length > num_bytes:
            raise MedganError(f"{file.name} is truncated: its header ends within a value; copy or export it again.")


def _check_whole(file: DicomFile) -> None:
    """Refuse an image whose header was cut off: without its Rows it would be taken for a report, and left out."""
    if "Rows" in file.header:
        return
    uid = file.sop_class
    if uid.name.endswith("Image Storage") or (
        "SeriesInstanceUID" not in file.header and uid != MediaStorageDirectoryStorage
    ):
        raise MedganError(f"{file.name} is truncated: its DICOM header ends before the image; copy it again.")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what pydicom warns of and logs from the user, wherever a header is decoded: it quotes values."""
    was_disabled = config.logger.disabled
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        config.logger.disabled = True
        try:
            yield
        finally:
            config.logger.disabled = was_disabled
