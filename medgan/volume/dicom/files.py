"""One DICOM file: its header, read without its pixels, and what of it may be said.

Only keywords, numbers, UIDs and file names enter a message: every other value could name a person.
"""

import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from pydicom import config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

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
_ITEM = b"\xfe\xff\x00\xe0"


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
        return self.shown or str(self.path)

    @property
    def short_name(self) -> str:
        """The last part of its name, for messages that name the folder already."""
        return PurePath(self.name).name

    def text(self, keyword: str) -> str:
        """Return an element as text, "" if it is absent or empty. Not for messages."""
        value = self.value(keyword)
        return "" if value is None else str(value)

    def uid(self, keyword: str) -> str:
        """Return an element as text if it is a UID, which messages may show, else ""."""
        text = self.text(keyword)
        return text if re.fullmatch(r"[0-9.]{1,64}", text) else ""

    @property
    def sop_class(self) -> UID:
        """The SOPClassUID, or where the header has none that of the file meta information."""
        with _quietly():
            meta = getattr(self.header, "file_meta", Dataset())
            found = self.text("SOPClassUID") or str(meta.get("MediaStorageSOPClassUID", ""))
            return UID(found, validation_mode=config.IGNORE)

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """Return the `count` finite numbers of an element.

        Raises:
            MedganError: if it is absent, has another number of values, or is not finite.
        """
        value = self.value(keyword)
        if value is None or value == "":
            raise MedganError(f"{self.name} has no {keyword}, and without it a scan has no geometry or values.")
        try:
            numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise MedganError(f"{self.name} must have {count} numbers in {keyword}, found text.") from error
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

    def value(self, keyword: str) -> object:
        """Return an element as pydicom decodes it (sequences, say), None if it is absent. Not for messages."""
        self._check_value(keyword)
        try:
            with _quietly():
                return self.header.get(keyword)
        except Exception as error:  # pydicom converts on access, and damaged bytes raise many kinds
            raise MedganError(f"{self.name} is damaged: its {keyword} cannot be decoded.") from error

    def _check_value(self, keyword: str) -> None:
        """Refuse a value left on disk that would take more memory than its kind is worth, before pydicom decodes it."""
        element: Any = self.header.get_item(keyword, keep_deferred=True)
        if not isinstance(element, RawDataElement) or element.value is not None:
            return
        if (element.VR or dictionary_VR(element.tag)) == "SQ":
            if 2 * _count_items(self.path, element.value_tell, element.length) <= _most_parts(self.path):
                return
        elif element.length <= _MAX_VALUE_BYTES:
            return
        raise MedganError(f"{self.name} is damaged: its {keyword} is too large, {element.length:,} bytes.")


def _count_items(path: Path, start: int, num_bytes: int) -> int:
    """Return how many items a sequence on disk holds, give or take one per piece read."""
    count = 0
    with path.open("rb") as file:
        file.seek(start)
        while num_bytes > 0 and (piece := file.read(min(num_bytes, _MAX_VALUE_BYTES))):
            count += piece.count(_ITEM)
            num_bytes -= len(piece)
    return count


class _HeaderReader(io.BufferedReader):
    """A file that is refused when its header has so many parts that millions of empty items must be meant to harm."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(io.FileIO(str(path)))
        self._name, self._reads_left = name, 2 * _most_parts(path)

    def read(self, size: int | None = -1) -> bytes:
        """Return bytes, and count the call: pydicom reads element by element."""
        self._reads_left -= 1
        if self._reads_left < 0:
            raise MedganError(f"{self._name} is damaged: the size of its header, in elements, exceeds the limit.")
        return super().read(size)


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
    name, is_named_so = shown or str(path), path.suffix.lower() in _DICOM_SUFFIXES
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not looks_like_dicom(head):
        if is_named_so:
            found = "is empty (0 bytes)" if not head else "is not DICOM"
            raise MedganError(f"{name} {found} though its name says so; copy it again, or move it away.")
        return None
    has_preamble = head[128:132] == b"DICM"
    try:
        header = _read(path, name, head, has_preamble=has_preamble)
    except MedganError:
        raise
    except Exception as error:  # damaged bytes make pydicom raise many kinds, some of which quote the header
        if not (has_preamble or is_named_so):
            return None
        raise MedganError(f"{name} is a damaged DICOM file: its header cannot be decoded; copy it again.") from error
    if not (has_preamble or is_named_so or "Rows" in header):
        return None
    found_file = DicomFile(path, header, shown)
    _check_whole(found_file)
    return found_file


def looks_like_dicom(head: bytes) -> bool:
    """Return whether the first 144 bytes of a file could be a DICOM file's, with the preamble or without."""
    return head[128:132] == b"DICM" or (head[:2] in _BARE_STARTS and len(head) >= _HEAD_BYTES)


def is_named_as_dicom(name: str) -> bool:
    """Return whether a file calls itself DICOM by its suffix."""
    return PurePath(name).suffix.lower() in _DICOM_SUFFIXES


def _read(path: Path, name: str, head: bytes, *, has_preamble: bool) -> Dataset:
    with _quietly():
        is_deflated = has_preamble and _is_deflated(path)
        if is_deflated:
            _check_inflated(path, name, start=_HEAD_BYTES + int.from_bytes(head[140:144], "little"))
        with _HeaderReader(path, name) as file:
            header = dcmread(file, defer_size=None if is_deflated else _DEFER_BYTES, force=not has_preamble)
    for tag in [tag for tag in header.keys() if tag.is_private]:  # noqa: SIM118 - iterating would decode the values
        del header[tag]
    return header


def _is_deflated(path: Path) -> bool:
    return bool(read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _check_inflated(path: Path, name: str, *, start: int) -> None:
    """Refuse a deflated data set that inflates without measure, before pydicom inflates it whole."""
    inflate, num_bytes, num_items = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(1 << 14):
            inflated = inflate.decompress(chunk)
            num_bytes, num_items = num_bytes + len(inflated), num_items + inflated.count(_ITEM)
            if num_bytes > _MAX_INFLATED_BYTES or num_items > _LEAST_PARTS:
                raise MedganError(
                    f"{name} is too large: its deflated data set exceeds the limit of {_MAX_INFLATED_BYTES >> 20} MiB "
                    f"and {_LEAST_PARTS} items."
                )


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
def _quietly() -> Iterator[None]:
    """Keep what pydicom warns of and logs to itself: it quotes values."""
    was_disabled = config.logger.disabled
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        config.logger.disabled = True
        try:
            yield
        finally:
            config.logger.disabled = was_disabled
