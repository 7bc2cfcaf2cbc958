"""A predicted case on disk."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.outputs import save
from medgan.outputs.save import labels_beside, prediction_record, write_prediction
from medgan.volume.readers import read_label
from medgan.volume.volume import Volume, same_grid

CODE = {"scheme": "SCT", "value": "80891009", "meaning": "Heart"}
LABELS = LabelMap.from_mapping(
    {"left_lung": 1, "right_lung": 2, "heart": {"value": 300, "color": "#ff8000", "code": CODE}}
)


def label_volume() -> Volume:
    data = np.zeros((1, 4, 5, 6), np.uint16)
    data[0, 0, 0, :4], data[0, 1, 1, :3] = 1, 300
    return Volume(data, np.diag([2.0, 1.0, 3.0, 1.0]))


def test_labels_and_record_lie_side_by_side(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path / "out", "case_07", {"model_sha256": "abc"})
    assert path == tmp_path / "out" / "case_07.nii.gz"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["case_07.json", "case_07.nii.gz"]
    read = read_label(path)
    assert same_grid(read, label_volume())
    assert np.array_equal(read.data, label_volume().data)


def test_record_holds_organs_volumes_and_what_was_given(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path, "case_07", {"model_sha256": "abc", "seconds": 1.5})
    record = json.loads((tmp_path / "case_07.json").read_text())
    assert record["case_id"] == "case_07"
    assert (record["model_sha256"], record["seconds"]) == ("abc", 1.5)
    assert record["labels"]["heart"] == {"value": 300, "color": [255, 128, 0], "code": CODE}
    assert record["volumes_ml"] == {"left_lung": 0.024, "right_lung": 0.0, "heart": 0.018}  # voxels of 0.006 ml
    assert prediction_record(path) == tmp_path / "case_07.json"


def test_nifti_alone_names_its_organs(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path, "case_07", {})
    (extension,) = nib.load(path).header.extensions
    content = extension.get_content()
    organs = json.loads(content if isinstance(content, str) else bytes(content).rstrip(b"\0"))["medgan_labels"]
    assert LabelMap.from_mapping(organs) == LABELS


def test_organs_are_read_back_from_the_record(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path, "case_07", {})
    assert labels_beside(path) == LABELS
    assert labels_beside(tmp_path / "other.nii.gz") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labels": 3}', '{"labels": {"heart": 0}}', "[" * 100_000])
def test_damaged_record_is_told_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "case_07.json").write_text(text)
    with pytest.raises(MedganError, match=r"case_07\.json"):
        labels_beside(tmp_path / "case_07.nii.gz")


@pytest.mark.parametrize("name", ["case_07.nii.gz", "case_07.nii"])
def test_record_is_named_for_the_case(name: str) -> None:
    assert prediction_record(Path("out") / name) == Path("out/case_07.json")


def test_case_id_with_dots_keeps_them(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path, "1.2.840.7", {})
    assert path.name == "1.2.840.7.nii.gz"
    assert prediction_record(path).name == "1.2.840.7.json"


def test_record_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(volume: Volume, path: Path, **options: object) -> None:
        raise MedganError(f"{path} could not be written: No space left on device.")

    monkeypatch.setattr(save, "write_volume", refuse)
    with pytest.raises(MedganError, match="No space left"):
        write_prediction(label_volume(), LABELS, tmp_path, "case_07", {})
    assert list(tmp_path.iterdir()) == []


def test_old_record_does_not_outlive_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second prediction that dies after its labels must not stand beside the record of the first."""
    write_prediction(label_volume(), LABELS, tmp_path, "case_07", {"model_sha256": "first"})

    def die(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(save, "write_json", die)
    with pytest.raises(KeyboardInterrupt):
        write_prediction(label_volume(), LABELS, tmp_path, "case_07", {"model_sha256": "second"})
    assert not (tmp_path / "case_07.json").exists()
