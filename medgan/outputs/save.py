"""Writing a predicted case: its labels on the source grid in every format asked for, and a record beside them."""

import json
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.files import write_json
from medgan.labels import LabelMap
from medgan.outputs.formats import SUFFIXES, Format, write_label
from medgan.volume.dicom.stack import Stack
from medgan.volume.volume import Volume

_COMMENT = 6  # code of a NIfTI header extension


def write_prediction(
    volume: Volume,
    labels: LabelMap,
    folder: str | Path,
    case_id: str,
    record: dict[str, object],
    *,
    formats: Sequence[Format] = ("nifti",),
    source: Stack | None = None,
    deidentify: bool = False,
) -> Path:
    """Write `folder/<case_id>.nii.gz`, or other formats, and `folder/<case_id>.json`; return the path of the first.

    Every file is read back and compared with the labels. Organ names, values and colours travel in all that can hold
    them, and in the record, which adds volumes in ml, the files, and where the labels came from. The record is written
    last, so its presence says the case is done.

    Args:
        volume: label volume (1, I, J, K) of values.
        labels: the organs.
        folder: created if absent.
        case_id: names all files.
        record: what else to keep: model, versions, hashes, settings. Nothing of the patient.
        formats: what to write; the first one counts where one prediction is wanted, as in evaluation.
        source: the DICOM series of the (first) image, which DICOM formats refer to.
        deidentify: keep patient, study and their UIDs out of DICOM objects.

    Raises:
        MedganError: if a file cannot be written, or does not read back as the labels it was written from.
    """
    folder = Path(folder)
    record_path = folder / f"{case_id}.json"
    _remove(record_path)  # one of an earlier prediction would say that this one is done
    files = {name: f"{case_id}{SUFFIXES[name]}" for name in formats}
    left_out: dict[str, tuple[str, ...]] = {}
    for name, file in files.items():
        empty = write_label(volume, labels, folder / file, kind=name, source=source, deidentify=deidentify)
        left_out |= {name: empty} if empty else {}
    document: dict[str, object] = {
        "case_id": case_id,
        "files": files,
        "labels": labels.to_mapping(),
        "volumes_ml": _volumes_ml(volume, labels, where=f"case {case_id}"),
    }
    if left_out:
        document["organs_left_out"] = left_out
    write_json(record_path, {**document, **record})
    return folder / next(iter(files.values()))


def prediction_record(path: Path) -> Path:
    """Return where the record of a predicted label volume lies."""
    suffixes = sorted((*SUFFIXES.values(), ".nii"), key=len, reverse=True)
    suffix = next((suffix for suffix in suffixes if path.name.endswith(suffix)), "")
    return path.with_name(path.name.removesuffix(suffix) + ".json")


def labels_of(path: Path) -> LabelMap | None:
    """Return the organs that a label volume of medgan's names itself, in its NIfTI header or the record beside it.

    None if it names none: other programs write comments and JSON files too.

    Raises:
        MedganError: if what it names cannot be organs.
    """
    for text in _comments_of(path):
        organs = _parsed(text).get("medgan_labels")
        if organs is not None:
            return LabelMap.from_mapping(organs, where=str(path))  # type: ignore[arg-type]
    record = prediction_record(path)
    if record.is_file() and {"case_id", "labels"} <= _parsed(record.read_text("utf-8", errors="replace")).keys():
        return labels_beside(path)
    return None


def _comments_of(path: Path) -> list[str]:
    """Return the comments in the header of a NIfTI file that has been read; none of other files."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return []
    import nibabel as nib  # noqa: PLC0415
    from nibabel.filebasedimages import ImageFileError  # noqa: PLC0415
    from nibabel.spatialimages import HeaderDataError  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of extensions by other programs
        try:
            extensions = nib.load(path).header.extensions
        except (ImageFileError, HeaderDataError, ValueError, OSError, EOFError, zlib.error):
            return []  # damaged, or nibabel is stricter than medgan's reader in what does not matter
        contents = [extension.get_content() for extension in extensions if extension.get_code() == _COMMENT]
    return [text if isinstance(text, str) else bytes(text).rstrip(b"\0").decode(errors="replace") for text in contents]


def _parsed(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def labels_beside(path: Path) -> LabelMap | None:
    """Return the organs named in the record beside a predicted label volume; None if there is no record.

    Raises:
        MedganError: if the record is there but cannot be read.
    """
    record = prediction_record(path)
    if not record.is_file():
        return None
    try:
        organs = json.loads(record.read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MedganError(f"{record}: must be the record of a prediction with its labels, found {error!r}.") from error
    return LabelMap.from_mapping(organs, where=str(record))


def _volumes_ml(volume: Volume, labels: LabelMap, *, where: str) -> dict[str, float]:
    counts = np.zeros(labels.num_classes, np.int64)
    for plane in np.moveaxis(volume.data[0], 2, 0):  # counting makes 8 bytes of every voxel
        counts += np.bincount(labels.to_classes(plane, where=where).ravel(), minlength=labels.num_classes)
    return {name: round(float(n) * volume.voxel_ml, 3) for name, n in zip(labels.names, counts[1:], strict=True)}


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise MedganError(f"{path} could not be replaced: {error.strerror or error}.") from error
