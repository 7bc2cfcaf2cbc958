"""From a manifest row to a prepared case."""

from pathlib import Path

import numpy as np
import pytest
from phantoms import SHARED, box_volume, oblique_affine, write_dicom_series
from pydicom import dcmread

from medgan.config import PreprocessingConfig
from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.preprocessing.load import load_training_case, read_case_label, read_image
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

PULMONARY = SHARED / "data" / "totalsegmentator_ct" / "pulmonary_report" / "models"
ORGANS = LabelMap.from_mapping({"left_lung": 1, "right_lung": 2, "heart": 3})


def written(folder: Path, volume: Volume, name: str) -> Path:
    write_volume(volume, folder / name)
    return folder / name


def cropped(label: Volume) -> Volume:
    """Return a label without its last planes, as a tool that crops to the organs leaves it."""
    return Volume(label.data[:, :9, 1:, :7], affine_from(label, (0, 1, 0)))


def affine_from(volume: Volume, first: tuple[int, int, int]) -> np.ndarray:
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [*first, 1])[:3]
    return affine


@pytest.fixture
def case(tmp_path: Path) -> Case:
    affine = oblique_affine(left_handed=True)
    image = written(tmp_path, box_volume(affine=affine), "image.nii.gz")
    return Case("a", (image,), written(tmp_path, box_volume(affine=affine, labels=True), "label.nii.gz"))


def test_case_is_loaded_on_one_grid_with_classes_in_place(case: Case) -> None:
    config = PreprocessingConfig(intensity="window", window=(-1000.0, 1000.0))
    loaded = load_training_case(case, config, ORGANS)
    assert loaded.case_id == "a"
    assert loaded.classes.shape == loaded.prepared.image.shape[1:] == (12, 10, 8)
    hu = 1000 * loaded.prepared.image[0]  # box_volume adds 0 to 96 to the HU of each class
    for organ, base in enumerate((-1000, 40, 300, 700)):
        values = hu[loaded.classes == organ]
        assert base - 0.5 < values.min() <= values.max() < base + 96.5


def test_file_values_become_class_indices(tmp_path: Path, case: Case) -> None:
    label = box_volume(affine=oblique_affine(left_handed=True), labels=True)
    sparse = Volume(np.array([0, 7, 200, 30], np.uint8)[label.data], label.affine)
    organs = LabelMap.from_mapping({"a": 7, "b": 200, "c": 30})
    path = written(tmp_path, sparse, "sparse.nii.gz")
    loaded = load_training_case(Case("s", case.images, path), PreprocessingConfig(), organs)
    counts = np.bincount(label.data.ravel())
    assert np.bincount(loaded.classes.ravel()).tolist() == [counts[0], counts[1], counts[3], counts[2]]


def test_label_on_another_grid_is_refused_with_both_grids(tmp_path: Path, case: Case) -> None:
    label = cropped(box_volume(affine=oblique_affine(left_handed=True), labels=True))
    other = Case("liver_07", case.images, written(tmp_path, label, "cropped.nii.gz"))
    message = r"case liver_07: label and image must be on one grid, found label 9x9x7 .* and image 12x10x8 "
    with pytest.raises(MedganError, match=message):
        load_training_case(other, PreprocessingConfig(), ORGANS)


def test_label_is_resampled_where_the_manifest_says_so(tmp_path: Path, case: Case) -> None:
    whole = box_volume(affine=oblique_affine(left_handed=True), labels=True)
    path = written(tmp_path, cropped(whole), "cropped.nii.gz")
    other = Case("a", case.images, path, resample_label=True)
    expected = np.zeros_like(whole.data)
    expected[:, :9, 1:, :7] = whole.data[:, :9, 1:, :7]
    label = read_case_label(other, read_image(other))
    np.testing.assert_array_equal(label.data, expected)


def test_unknown_label_values_are_refused_with_the_case(case: Case) -> None:
    lungs = LabelMap.from_mapping({"left_lung": 1, "right_lung": 2})
    with pytest.raises(MedganError, match=r"case a: label values \[3\] are not in the label map"):
        load_training_case(case, PreprocessingConfig(), lungs)


def test_segments_of_the_labels_organs_are_loaded_by_name(tmp_path: Path, case: Case) -> None:
    label = box_volume(affine=oblique_affine(left_handed=True), labels=True)
    for value, name in enumerate(("Lt Lung", "Lung_R", "HEART"), start=1):
        written(tmp_path / "masks", Volume((label.data == value).astype(np.uint8), label.affine), f"{name}.nii.gz")
    organs = LabelMap.from_mapping({"heart": 40, "left_lung": 50})
    named = Case("a", case.images, tmp_path / "masks")
    expected = np.array([0, 50, 0, 40])[label.data]
    np.testing.assert_array_equal(read_case_label(named, read_image(named), labels=organs).data, expected)
    loaded = load_training_case(named, PreprocessingConfig(), organs)
    assert np.bincount(loaded.classes.ravel()).tolist()[1:] == [np.sum(expected == 40), np.sum(expected == 50)]


def test_label_of_the_same_voxels_in_another_order_is_laid_on_its_image(tmp_path: Path, case: Case) -> None:
    label = box_volume(affine=oblique_affine(left_handed=True), labels=True)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = label.shape[0] - 1, label.shape[1] - 1
    path = written(tmp_path, Volume(label.data[:, ::-1, ::-1], label.affine @ flip), "lps.nii.gz")
    turned = Case("a", case.images, path)
    np.testing.assert_array_equal(read_case_label(turned, read_image(turned)).data, label.data)


def test_the_series_of_the_manifest_is_read(tmp_path: Path) -> None:
    wanted = write_dicom_series(tmp_path / "a", box_volume())
    write_dicom_series(tmp_path / "b", box_volume((5, 6, 7)))
    uid = str(dcmread(wanted / "IM0000.dcm").SeriesInstanceUID)
    assert read_image(Case("a", (tmp_path,), series=uid)).shape == (12, 10, 8)
    with pytest.raises(MedganError, match="must hold one series, but holds 2"):
        read_image(Case("a", (tmp_path,)))


def test_channels_are_read_in_their_order(tmp_path: Path, case: Case) -> None:
    first = box_volume(affine=oblique_affine(left_handed=True))
    second = written(tmp_path, Volume(first.data + 5, first.affine), "second.nii.gz")
    image = read_image(Case("a", (*case.images, second)))
    assert image.num_channels == 2
    np.testing.assert_allclose(image.data[1] - image.data[0], 5.0)


def test_channels_on_different_grids_are_refused(tmp_path: Path, case: Case) -> None:
    other = written(tmp_path, box_volume((12, 10, 9), oblique_affine(left_handed=True)), "other.nii.gz")
    with pytest.raises(MedganError, match=r"case a: channels 1 and 2 must be on one grid, found 12x10x8 .* 12x10x9 "):
        read_image(Case("a", (*case.images, other)))


def test_unlabelled_case_cannot_train(case: Case) -> None:
    unlabelled = Case("u", case.images)
    with pytest.raises(MedganError, match="case u: has no label"):
        load_training_case(unlabelled, PreprocessingConfig(), ORGANS)


@pytest.mark.skipif(not PULMONARY.is_dir(), reason="shared CT data not present")
def test_real_label_on_another_grid_is_refused_or_keeps_every_voxel() -> None:
    image, heart = PULMONARY / "ct_cropped.nii.gz", PULMONARY / "heart.nii.gz"
    organs = LabelMap.from_mapping({"heart": 1})
    with pytest.raises(MedganError, match="case pulmonary: label and image must be on one grid"):
        load_training_case(Case("pulmonary", (image,), heart), PreprocessingConfig(), organs)
    case = Case("pulmonary", (image,), heart, resample_label=True)
    loaded = load_training_case(case, PreprocessingConfig(), organs)
    assert np.count_nonzero(loaded.classes) == 198_176
    heart_hu = (loaded.prepared.image[0][loaded.classes == 1] + 1) * 700 - 1000
    assert (heart_hu < -300).mean() < 0.001  # hardly any lung, so the label lies on the heart and not beside it
