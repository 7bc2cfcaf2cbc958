"""Which organs are compared: as asked for, or as the files say."""

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import segmentations
from phantoms import box_volume
from test_seg_nrrd import LAYERS, slicer_file

from medgan.errors import MedganError
from medgan.evaluation.organs import organs_to_compare
from medgan.labels import LabelMap
from medgan.manifest.pairs import Pair
from medgan.outputs.save import write_prediction
from medgan.volume.readers import read_label
from medgan.volume.seg_nrrd import write_seg_nrrd
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

BOXES = LabelMap.from_mapping({"left_box": 1, "right_box": 2, "top_box": 3})


def write_values(path: Path, values: Sequence[float], dtype: type[np.generic] = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.zeros((1, 4, 3, 5), dtype)
    data.reshape(-1)[1 : 1 + len(values)] = values
    write_volume(Volume(data, np.eye(4)), path)
    return path


def write_masks(folder: Path, *names: str) -> Path:
    for name in names:
        write_values(folder / f"{name}.nii.gz", [1])
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    """Two cases: values 1 and 7 in the references, 300 in a prediction."""
    found = []
    for case_id, values in (("a", [1]), ("b", [7, 1])):
        reference = write_values(tmp_path / "labelsTr" / f"{case_id}.nii.gz", values)
        prediction = write_values(tmp_path / "predictions" / f"{case_id}.nii.gz", [300], np.uint16)
        found.append(Pair(case_id, reference, prediction))
    return found


def test_organs_are_as_given(pairs: list[Pair], tmp_path: Path) -> None:
    assert organs_to_compare(BOXES, pairs) is BOXES
    BOXES.to_yaml(tmp_path / "organs.yaml")
    assert organs_to_compare(tmp_path / "organs.yaml", pairs) == BOXES
    assert organs_to_compare(str(tmp_path / "organs.yaml"), pairs) == BOXES


def test_organs_are_given_inline(pairs: list[Pair]) -> None:
    assert organs_to_compare("left_box=1, right_box=2, top_box=3", pairs) == BOXES
    many = ",".join(f"organ_number_{n}={n}" for n in range(1, 1000))  # longer than a file name can be
    assert len(organs_to_compare(many, pairs).organs) == 999
    with pytest.raises(MedganError, match=r"^--labels: left_box must have a whole number"):
        organs_to_compare("left_box=x", pairs)


def test_a_dataset_of_nnunet_may_be_given(pairs: list[Pair], tmp_path: Path) -> None:
    path = tmp_path / "other" / "dataset.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"labels": {"background": 0, "liver": 1, "lesion": 2}, "numTraining": 3}))
    assert organs_to_compare(str(path), pairs).names == organs_to_compare(path, pairs).names == ("liver", "lesion")
    path.write_text('{"heart": 3}')  # JSON is YAML
    assert organs_to_compare(path, pairs).names == ("heart",)


def test_a_file_with_an_equals_sign_is_a_file(pairs: list[Pair], tmp_path: Path) -> None:
    BOXES.to_yaml(tmp_path / "a=1.yaml")
    assert organs_to_compare(str(tmp_path / "a=1.yaml"), pairs) == BOXES


def test_missing_labels_file_is_named(pairs: list[Pair]) -> None:
    with pytest.raises(MedganError, match=r"labels file gone\.yaml: could not be read: No such file"):
        organs_to_compare("gone.yaml", pairs)


def test_a_prediction_by_medgan_names_its_organs(pairs: list[Pair], tmp_path: Path) -> None:
    LabelMap.from_mapping({"heart": 1}).to_yaml(tmp_path / "labelsTr" / "labels.yaml")
    write_prediction(box_volume(labels=True), BOXES, tmp_path / "predictions", "b", {})
    assert organs_to_compare(None, pairs) == BOXES
    (tmp_path / "predictions" / "b.json").unlink()  # the header of the NIfTI names them as well
    assert organs_to_compare(None, pairs) == BOXES


def test_a_record_by_another_program_names_none(pairs: list[Pair]) -> None:
    pairs[0].prediction.with_name("a.json").write_text('{"Modality": "CT"}')
    pairs[1].prediction.with_name("b.json").write_text("{")
    assert organs_to_compare(None, pairs).names == ("label_1", "label_7", "label_300")


@pytest.mark.parametrize("folder", ["labelsTr", ".", "predictions"])
def test_labels_file_near_the_files_is_found(pairs: list[Pair], tmp_path: Path, folder: str) -> None:
    BOXES.to_yaml(tmp_path / folder / "labels.yaml")
    (tmp_path / "labelsTr" / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1}}')
    assert organs_to_compare(None, pairs) == BOXES


@pytest.mark.parametrize("folder", ["labelsTr", ".", "predictions"])
def test_dataset_of_nnunet_near_the_files_is_found(pairs: list[Pair], tmp_path: Path, folder: str) -> None:
    labels = {"background": 0, "tumor": [1, 7], "core": 7, "ignore": 9}
    (tmp_path / folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    organs = organs_to_compare(None, pairs)
    assert (organs.names_to_score, organs.values) == (("label_1", "core", "tumor"), (1, 7))
    assert organs.ignored == (9,)


def test_paths_may_be_relative(pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BOXES.to_yaml(tmp_path / "labels.yaml")
    monkeypatch.chdir(tmp_path / "labelsTr")
    assert organs_to_compare(None, [Pair("a", Path("a.nii.gz"), Path("b.nii.gz"))]) == BOXES


def test_dataset_without_labels_names_none(pairs: list[Pair], tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"name": "something else"}')
    assert organs_to_compare(None, pairs).names == ("label_1", "label_7", "label_300")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_values_of_all_files_are_numbered(pairs: list[Pair], num_workers: int) -> None:
    organs = organs_to_compare(None, pairs, num_workers=num_workers)
    assert dict(zip(organs.names, organs.values, strict=True)) == {"label_1": 1, "label_7": 7, "label_300": 300}


def test_values_beyond_16_bits_are_found(tmp_path: Path) -> None:
    values = [65535, 65536, 2**32 - 1]
    path = write_values(tmp_path / "a.nii.gz", values, np.uint32)
    assert organs_to_compare(None, [Pair("a", path, path)]).values == (65535, 65536, 2**32 - 1)


def test_values_are_found_in_any_part_and_layout(tmp_path: Path) -> None:
    data = np.zeros((1, 128, 96, 80), np.uint8, order="F")
    data[0, 127, 95, 79], data[0, 60, 3, 41] = 9, 4
    write_volume(Volume(data, np.eye(4)), tmp_path / "a.nii.gz")
    path = tmp_path / "a.nii.gz"
    assert organs_to_compare(None, [Pair("a", path, path)]).values == (4, 9)


def test_files_that_cannot_be_read_stop_nothing(pairs: list[Pair], tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    fractions = write_values(folder / "float.nii.gz", [0.5, 3], np.float32)
    cut = write_values(folder / "cut.nii.gz", [5])
    cut.write_bytes(cut.read_bytes()[:60])
    (folder / "empty.nii.gz").touch()
    nib.save(nib.Nifti1Image(np.full((4, 3, 5, 2), 6, np.uint8), np.eye(4)), folder / "several.nii.gz")
    ramp = Volume(np.arange(300, dtype=np.int16).reshape(1, 10, 10, 3), np.eye(4))
    write_volume(ramp, folder / "image.nii.gz")
    names = ("cut.nii.gz", "empty.nii.gz", "several.nii.gz", "image.nii.gz", "gone.nii.gz", "gone")
    broken = [Pair(name, fractions, folder / name) for name in names]
    assert organs_to_compare(None, [*broken, *pairs]).names == ("label_1", "label_7", "label_300")


def test_nothing_but_unreadable_files_says_why(tmp_path: Path) -> None:
    pair = Pair("a", tmp_path / "gone.nii.gz", tmp_path / "gone_too.nii.gz")
    with pytest.raises(MedganError, match=r"hold no label but 0, or cannot be read\. .*gone\.nii\.gz does not exist"):
        organs_to_compare(None, [pair])


def test_nothing_but_background_is_refused(tmp_path: Path) -> None:
    path = write_values(tmp_path / "a.nii.gz", [])
    with pytest.raises(MedganError, match=r"references and predictions hold no label but 0, or cannot be read\.$"):
        organs_to_compare(None, [Pair("a", path, path)])


def test_images_are_not_taken_for_labels(tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    write_volume(Volume(np.arange(300, dtype=np.int16).reshape(1, 10, 10, 3), np.eye(4)), path)
    with pytest.raises(MedganError, match=r"image\.nii\.gz looks like an image, with 300 different values"):
        organs_to_compare(None, [Pair("a", path, path)])


def test_folders_of_masks_name_their_organs_in_whatever_spelling(tmp_path: Path) -> None:
    first = Pair("a", write_masks(tmp_path / "r/a", "Lung_L", "heart"), write_masks(tmp_path / "p/a", "left_lung"))
    second = Pair("b", write_masks(tmp_path / "r/b", "heart", "spleen"), write_masks(tmp_path / "p/b", "HEART"))
    organs = organs_to_compare(None, [first, second])
    assert dict(zip(organs.names, organs.values, strict=True)) == {"Lung_L": 1, "heart": 2, "spleen": 3}


def test_a_name_that_could_be_two_organs_is_its_own(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "r", "lung", "lungs")
    assert organs_to_compare(None, [Pair("a", masks, write_masks(tmp_path / "p", "LUNG"))]).names == (
        "lung", "lungs", "LUNG"
    )  # fmt: skip


def test_voxels_of_mask_folders_are_not_needed_for_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in ("heart", "background", "ignore"):
        (folder / f"{name}.nii.gz").touch()
    assert organs_to_compare(None, [Pair("a", folder, folder)]).names == ("background_1", "heart", "ignore_3")


def test_dicom_seg_names_its_organs(tmp_path: Path) -> None:
    path = segmentations.write_seg(tmp_path / "seg.dcm", box_volume(labels=True))
    assert organs_to_compare(None, [Pair("a", path, path)]).names == ("Lung_L", "Lung_R", "Heart")


def test_names_on_one_side_and_numbers_on_the_other_are_refused(pairs: list[Pair], tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks", "heart")
    with pytest.raises(MedganError, match=r"masks names its organs and .*a\.nii\.gz numbers them"):
        organs_to_compare(None, [Pair("c", masks, pairs[0].prediction)])
    assert organs_to_compare(None, [Pair("c", masks, tmp_path / "gone.nii.gz")]).names == ("heart",)


def write_segmentation(path: Path, values: Sequence[int], labels: LabelMap) -> Path:
    label = read_label(write_values(path.with_suffix(".nii.gz"), values))
    write_seg_nrrd(label, labels, path)
    return path


def test_values_that_slicer_files_name_count_for_the_others(pairs: list[Pair], tmp_path: Path) -> None:
    one = LabelMap.from_mapping({"Heart": 1, "lung": 7})
    other = LabelMap.from_mapping({"heart": 1, "spleen": 300})
    found = [
        Pair("c", pairs[0].reference, write_segmentation(tmp_path / "s/c.seg.nrrd", [1, 7], one)),
        Pair("d", pairs[1].reference, write_segmentation(tmp_path / "s/d.seg.nrrd", [1], other)),
        *pairs,
    ]
    with pytest.warns(UserWarning, match=r"c\.seg\.nrrd names its organs and .* as in Heart=1,lung=7,spleen=300\."):
        organs = organs_to_compare(None, found)
    assert dict(zip(organs.names, organs.values, strict=True)) == {"Heart": 1, "lung": 7, "spleen": 300}


def test_places_of_slicer_layers_that_use_one_value_are_not_values(pairs: list[Pair], tmp_path: Path) -> None:
    keys = "".join(f"Segment{n}_Name:={name}\nSegment{n}_Layer:={n}\n" for n, name in enumerate(("spleen", "liver")))
    voxels = np.zeros((2, 4, 3, 2), np.uint8)
    voxels[0, :2], voxels[1, 2:] = 1, 1  # they share no voxel, and both have the value 1
    layered = slicer_file(tmp_path / "c.seg.nrrd", voxels, keys, grid=LAYERS)
    with pytest.raises(MedganError, match=r"c\.seg\.nrrd names its organs and .*a\.nii\.gz numbers them"):
        organs_to_compare(None, [Pair("c", layered, pairs[0].prediction)])


@pytest.mark.parametrize("second", [{"heart": 7}, {"liver": 1}])
def test_slicer_files_that_contradict_each_other_give_no_names(
    pairs: list[Pair], tmp_path: Path, second: dict[str, object]
) -> None:
    found = [
        Pair(name, pairs[0].reference, write_segmentation(tmp_path / f"s/{name}.seg.nrrd", [], labels))
        for name, labels in (
            ("c", LabelMap.from_mapping({"heart": 1, "lung": 2})),
            ("d", LabelMap.from_mapping(second)),
        )
    ]
    with pytest.raises(MedganError, match=r"so nobody knows which are the same; .* --labels heart=1,left_lung=2\.$"):
        organs_to_compare(None, found)


def test_a_value_that_no_slicer_file_names_leaves_all_unnamed(pairs: list[Pair], tmp_path: Path) -> None:
    path = write_segmentation(tmp_path / "s/c.seg.nrrd", [1], LabelMap.from_mapping({"heart": 1}))
    with pytest.warns(UserWarning, match=r"nobody knows which are the same, and 1 of 3 cases cannot be evaluated"):
        organs = organs_to_compare(None, [Pair("c", pairs[0].reference, path), *pairs])
    assert organs.names == ("label_1", "label_7", "label_300")


def test_a_few_files_with_values_among_named_ones_are_never_taken_for_organs(pairs: list[Pair], tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks", "heart", "lung")
    empty = write_values(tmp_path / "empty.nii.gz", [])
    named = [Pair(name, masks, masks) for name in "cd"]
    with pytest.warns(
        UserWarning, match=r"1 of 4 cases cannot be evaluated; give the names and the values as --labels"
    ):
        organs = organs_to_compare(None, [Pair("a", masks, pairs[0].reference), *named, Pair("e", masks, empty)])
    assert dict(zip(organs.names, organs.values, strict=True)) == {"heart": 2, "lung": 3}  # 1 is that file's value


def test_an_empty_volume_beside_masks_is_no_mix(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks", "heart")
    assert organs_to_compare(None, [Pair("a", masks, write_values(tmp_path / "e.nii.gz", []))]).names == ("heart",)
