"""Merged, ignored and background values on their way through checking, training, prediction and writing."""

from pathlib import Path

import numpy as np
import pytest
from phantoms import box_volume, write_dicom_series
from tiny import write_box_cohort

import medgan
from medgan.errors import MedganError
from medgan.inspection.check import check_cases
from medgan.labels import LabelMap
from medgan.manifest.read import read_manifest
from medgan.outputs.convert import convert
from medgan.volume.readers import read_label, read_segments
from medgan.volume.seg_nrrd import write_seg_nrrd
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

MERGED = LabelMap.from_mapping({"box": {"value": 1, "merge": [3]}, "both": {"organs": ["box"]}, "background": 2})


def test_check_accepts_what_the_map_accepts(tmp_path: Path) -> None:
    write_box_cohort(tmp_path)
    cases = read_manifest(tmp_path / "manifest.csv")
    label = read_label(cases[0].label)  # type: ignore[arg-type]
    write_volume(Volume(np.array([0, 3, 2, 3], np.uint8)[label.data], label.affine), cases[0].label)  # type: ignore[arg-type]
    report = check_cases(cases, labels=MERGED)
    assert (report.failed, [w for case in report.cases for w in case.warnings if w.kind == "empty_label"]) == ({}, [])


def test_check_knows_a_label_of_ignored_voxels_for_empty(tmp_path: Path) -> None:
    write_box_cohort(tmp_path)
    labels = LabelMap.from_mapping({"box": 7, "ignore": [1, 2, 3]})
    report = check_cases(read_manifest(tmp_path / "manifest.csv"), labels=labels)
    assert [w.text for case in report.cases for w in case.warnings if w.kind == "empty_label"] == [
        "label is empty: it marks no voxel."
    ] * 4


def test_a_model_of_merged_values_predicts_the_organs_own(tmp_path: Path) -> None:
    config = write_box_cohort(tmp_path / "cohort")
    MERGED.to_yaml(tmp_path / "cohort" / "labels.yaml")
    model = medgan.train(config, tmp_path / "model", overrides=["adversary.enabled=false"])
    predictor = medgan.Predictor(model, device="cpu")
    assert (predictor.labels, predictor.labels.num_classes) == (MERGED, 2)
    image = tmp_path / "cohort" / "images" / "case_d.nii.gz"
    outcome = medgan.predict(predictor, [image], tmp_path / "predictions")
    assert set(np.unique(read_label(outcome.folder / "case_d.nii.gz").data)) <= {0, 1}


def test_training_refuses_values_to_ignore(tmp_path: Path) -> None:
    config = write_box_cohort(tmp_path / "cohort")
    labels = tmp_path / "cohort" / "labels.yaml"
    labels.write_text(labels.read_text() + "ignore: [254, 255]\n")
    with pytest.raises(MedganError, match=r"labels\.yaml: must have no values to ignore for training.* 254, 255;"):
        medgan.train(config, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd", ".seg.dcm", ".rtstruct.dcm"])
def test_merged_values_are_written_as_the_organs_own(tmp_path: Path, suffix: str) -> None:
    image = box_volume((24, 20, 16))
    series = write_dicom_series(tmp_path / "ct", image)
    label = box_volume((24, 20, 16), labels=True)
    write_volume(label, tmp_path / "label.nii.gz")
    done = convert(tmp_path / "label.nii.gz", tmp_path / f"a{suffix}", labels=MERGED, reference=series)
    read = read_label(done.path, labels=MERGED, reference=label)
    marked = np.isin(label.data, (1, 3))
    assert np.array_equal(read.data == 1, marked)
    assert set(np.unique(read.data).tolist()) == {0, 1}


def test_voxels_to_ignore_become_background_with_a_warning(tmp_path: Path) -> None:
    label = box_volume(labels=True)
    write_volume(label, tmp_path / "label.nii.gz")
    labels = LabelMap.from_mapping({"left": 1, "right": 2, "ignore": 3})
    with pytest.warns(UserWarning, match=rf"{np.count_nonzero(label.data == 3)} voxels of values to ignore become"):
        convert(tmp_path / "label.nii.gz", tmp_path / "a.nii.gz", labels=labels)
    assert np.array_equal(read_label(tmp_path / "a.nii.gz").data, np.where(label.data == 3, 0, label.data))


def test_seg_nrrd_holds_merged_values_beyond_its_type(tmp_path: Path) -> None:
    label = box_volume(labels=True)
    large = Volume(np.array([0, 1, 0, 70000], np.uint32)[label.data], label.affine)
    labels = LabelMap.from_mapping({"box": {"value": 1, "merge": 70000}})
    write_seg_nrrd(large, labels, tmp_path / "a.seg.nrrd")
    (segment,) = read_segments(tmp_path / "a.seg.nrrd").segments
    assert (segment.name, segment.num_voxels) == ("box", np.count_nonzero(large.data))
