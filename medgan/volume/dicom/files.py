"""Which files of a folder make up one DICOM series, by their headers alone.

No value that could name a person (names, ids, dates, descriptions) enters a message; UIDs and file names do.
"""

import filecmp
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    ParametricMapStorage,
    RTDoseStorage,
    SegmentationStorage,
    SurfaceSegmentationStorage,
)

from medgan.errors import MedganError

_DERIVED = {  # objects with pixels that are no scan; they often lie beside the series they were made from
    SegmentationStorage: "DICOM SEG (segmentation)",
    UID("1.2.840.10008.5.1.4.1.1.66.7"): "DICOM SEG (label map segmentation)",
    SurfaceSegmentationStorage: "surface segmentation",
    RTDoseStorage: "RT dose",
    ParametricMapStorage: "parametric map",
}
_DICOM_SUFFIXES = {".dcm", ".ima", ".dicom"}
_BARE_STARTS = (b"\x08\x00", b"\x02\x00")  # group 0008 or 0002 first: a data set without the 128-byte preamble
_DEFER_BYTES = 4096
_MAX_INFLATED_BYTES = 2**27


@dataclass(frozen=True)
class DicomFile:
    """One DICOM file: its path and its header, with long values (pixels) left on disk."""

    path: Path
    header: Dataset

    def text(self, keyword: str) -> str:
        """Return an element as text, "" if it is absent or empty."""
        return str(self._value(keyword) or "")

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """Return the `count` finite numbers of an element.

        Raises:
            MedganError: if it is absent, has another number of values, or is not finite.
        """
        value = self._value(keyword)
        if value is None or value == "":
            raise MedganError(f"{self.path} has no {keyword}, and without it a scan has no geometry or values.")
        try:
            numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise MedganError(f"{self.path} must have {count} numbers in {keyword}, found text.") from error
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise MedganError(f"{self.path} must have {count} finite numbers in {keyword}, found {numbers.tolist()}.")
        return numbers

    def integer(self, keyword: str, *, default: int = 0) -> int:
        """Return a whole-number element, `default` if it is absent."""
        return default if self._value(keyword) in (None, "") else int(self.numbers(keyword, 1)[0])

    def _value(self, keyword: str) -> object:
        try:
            return self.header.get(keyword)
        except Exception as error:  # pydicom converts on access, and damaged bytes raise many kinds
            raise MedganError(f"{self.path} is damaged: its {keyword} cannot be decoded.") from error


def find_series(path: Path) -> list[DicomFile]:
    """Return the files of the one image series in a folder, or of the series that a single file belongs to.

    Sub-folders are not searched and a DICOMDIR is not followed. Files that are not DICOM, objects that are no scan
    (reports, segmentations, dose) and copies of a slice are left out; localizers too, with a warning.

    Raises:
        MedganError: if there is no series, or more than one, or a file that calls itself DICOM is damaged.
    """
    folder = path if path.is_dir() else path.parent
    members = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    files = [DicomFile(member, header) for member in members if (header := _read_header(member)) is not None]
    for file in files:
        _check_whole(file)
    if not path.is_dir():
        files = _series_of(path, files)
    images = _without_localizers(path, _images(path, files))
    _check_one_series(path, images)
    return _without_copies(images)


def _read_header(path: Path) -> Dataset | None:
    """Return the header of a DICOM file, None for a file that is none and does not call itself one."""
    with path.open("rb") as file:
        head = file.read(144)
    has_preamble, is_named_so = head[128:132] == b"DICM", path.suffix.lower() in _DICOM_SUFFIXES
    if not has_preamble and not (head[:2] in _BARE_STARTS and len(head) == 144):
        if is_named_so:
            found = "is empty (0 bytes)" if not head else "is not DICOM"
            raise MedganError(f"{path} {found} though its name says so; copy it again, or move it away.")
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            is_deflated = has_preamble and _is_deflated(path)
            if is_deflated:
                _check_inflated(path, start=144 + int.from_bytes(head[140:144], "little"))
            header = dcmread(path, defer_size=None if is_deflated else _DEFER_BYTES, force=not has_preamble)
            return header if has_preamble or is_named_so or "Rows" in header else None
    except MedganError:
        raise
    except Exception as error:  # damaged bytes make pydicom raise many kinds, some of which quote the header
        if not (has_preamble or is_named_so):
            return None
        raise MedganError(f"{path} is a damaged DICOM file: its header cannot be decoded; copy it again.") from error


def _is_deflated(path: Path) -> bool:
    return bool(read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _check_inflated(path: Path, *, start: int) -> None:
    """Refuse a deflated data set that inflates without measure, before pydicom inflates it whole."""
    inflate, num_bytes = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(1 << 14):
            num_bytes += len(inflate.decompress(chunk))
            if num_bytes > _MAX_INFLATED_BYTES:
                raise MedganError(
                    f"{path} is too large: its deflated data set exceeds the limit of {_MAX_INFLATED_BYTES >> 20} MiB."
                )


def _check_whole(file: DicomFile) -> None:
    """Refuse an image whose header was cut off: without its Rows it would be taken for a report, and left out."""
    if "Rows" in file.header:
        return
    by_meta = UID(str(file.header.file_meta.get("MediaStorageSOPClassUID", "")))
    is_image = any(uid.name.endswith("Image Storage") for uid in (by_meta, UID(file.text("SOPClassUID"))))
    if is_image or ("SeriesInstanceUID" not in file.header and by_meta != MediaStorageDirectoryStorage):
        raise MedganError(f"{file.path} is truncated: its DICOM header ends before the image; copy it again.")


def _series_of(path: Path, files: Sequence[DicomFile]) -> list[DicomFile]:
    chosen = next((file for file in files if file.path == path), None)
    if chosen is None:
        raise MedganError(f"{path} is not a DICOM file; check what it is.")
    series = chosen.text("SeriesInstanceUID")
    return [file for file in files if file.text("SeriesInstanceUID") == series]


def _images(path: Path, files: Sequence[DicomFile]) -> list[DicomFile]:
    with_pixels = [file for file in files if "Rows" in file.header]
    images = [file for file in with_pixels if file.text("SOPClassUID") not in _DERIVED]
    if images:
        return images
    if with_pixels:
        kind = _DERIVED[UID(with_pixels[0].text("SOPClassUID"))]
        raise MedganError(f"{path} must be an image series, but is a {kind}, which is not supported as an image.")
    raise MedganError(
        f"{path}: there is no DICOM image here (sub-folders are not searched and a DICOMDIR is not followed); "
        "give the folder that holds the slices."
    )


def _without_localizers(path: Path, images: list[DicomFile]) -> list[DicomFile]:
    scans = [image for image in images if "LOCALIZER" not in image.text("ImageType")]
    num_localizers = len(images) - len(scans)
    if not scans or not num_localizers:
        return images
    warnings.warn(f"{path}: {num_localizers} localizer image(s) (scout) left out.", stacklevel=2)
    return scans


def _check_one_series(path: Path, images: Sequence[DicomFile]) -> None:
    series = Counter((image.text("SeriesInstanceUID"), image.text("Modality")) for image in images)
    if len(series) > 1:
        listed = ", ".join(f"{uid} ({modality}, {n} slices)" for (uid, modality), n in series.most_common(8))
        raise MedganError(
            f"{path} must hold one series, but holds {len(series)}: {listed}; give one file of the series you want, "
            "or move the others away."
        )
    for keyword, what in (
        ("PatientID", "patient"),
        ("StudyInstanceUID", "study"),
        ("FrameOfReferenceUID", "frame of reference"),
    ):
        if len({image.text(keyword) for image in images}) > 1:
            raise MedganError(f"{path} mixes slices of more than one {what} in one series; separate them.")


def _without_copies(images: Sequence[DicomFile]) -> list[DicomFile]:
    """Leave out files that repeat another byte for byte; refuse two contents under one SOPInstanceUID."""
    kept: dict[str, DicomFile] = {}
    for image in images:
        uid = image.text("SOPInstanceUID") or str(image.path)
        first = kept.setdefault(uid, image)
        if first is not image and not filecmp.cmp(first.path, image.path, shallow=False):
            raise MedganError(
                f"{image.path} and {first.path.name} are duplicates by SOPInstanceUID but differ; remove one of them."
            )
    return list(kept.values())
