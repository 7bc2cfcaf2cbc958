"""Writing a predicted case: its labels on the source grid, and a record beside them."""

import json
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.files import write_json
from medgan.labels import LabelMap
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume


def write_prediction(
    volume: Volume, labels: LabelMap, folder: str | Path, case_id: str, record: dict[str, object]
) -> Path:
    """Write `folder/<case_id>.nii.gz` and `folder/<case_id>.json`; return the path of the first.

    Organ names, values and colours travel in both: in a header extension of the NIfTI and in the record, which adds
    volumes in ml and where the labels came from. The record is written last, so its presence says the case is done.

    Args:
        volume: label volume (1, I, J, K) of values.
        labels: the organs.
        folder: created if absent.
        case_id: names both files.
        record: what else to keep: model, versions, hashes, settings. Nothing of the patient.
    """
    path = Path(folder) / f"{case_id}.nii.gz"
    _remove(prediction_record(path))  # one of an earlier prediction would say that this one is done
    organs = labels.to_mapping()
    write_volume(volume, path, extension=json.dumps({"medgan_labels": organs}))
    counts = np.bincount(volume.data.ravel(), minlength=labels.values[-1] + 1)
    volumes_ml = {organ.name: round(float(counts[organ.value]) * volume.voxel_ml, 3) for organ in labels.organs}
    write_json(prediction_record(path), {"case_id": case_id, "labels": organs, "volumes_ml": volumes_ml, **record})
    return path


def prediction_record(path: Path) -> Path:
    """Return where the record of a predicted label volume lies."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")


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


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise MedganError(f"{path} could not be replaced: {error.strerror or error}.") from error
