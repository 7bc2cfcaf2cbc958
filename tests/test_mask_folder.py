"""A folder with a mask for each organ, as TotalSegmentator leaves it."""

import gzip

import numpy as np
import pytest
from phantoms import box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.volume.mask_folder import is_mask_folder, read_mask_folder
from medgan.volume.volume import Volume, same_grid
from medgan.volume.writers import write_volume

BOXES = box_volume(affine=oblique_affine(), labels=True)
ORGANS = LabelMap.from_mapping({"heart": 7, "left_lung": {"value": 9, "synonyms": ["lung_upper_lobe_left"]}})


def write_masks(folder, *, mark=1, **names):
    """Write one mask for each of the given boxes of `BOXES`."""
    for name, box in names.items():
        write_volume(Volume((BOXES.data == box).astype(np.uint8) * mark, BOXES.affine), folder / f"{name}.nii.gz")
    return folder


@pytest.mark.parametrize("mark", [1, 255])
def test_names_are_those_of_the_files_and_numbers_their_order(tmp_path, mark):
    folder = write_masks(tmp_path, mark=mark, lung_right=2, heart=3, aorta=1)
    (folder / "statistics.json").write_text("{}")
    (folder / ".hidden.nii.gz").write_bytes(b"x")
    (folder / "preview").mkdir()
    found = read_mask_folder(folder)
    assert [(each.number, each.name) for each in found.segments] == [(1, "aorta"), (2, "heart"), (3, "lung_right")]
    label = found.to_label(None, where="x")
    assert same_grid(label, BOXES)
    np.testing.assert_array_equal(label.data, np.array([0, 1, 3, 2], np.uint8)[BOXES.data])


def test_organs_are_found_by_name_and_synonym(tmp_path):
    folder = write_masks(tmp_path, lung_upper_lobe_left=1, Heart=2, spleen=3)
    label = read_mask_folder(folder).to_label(ORGANS, where="x")
    np.testing.assert_array_equal(label.data, np.array([0, 9, 7, 0], np.uint8)[BOXES.data])


def test_other_formats_and_empty_masks_are_taken(tmp_path):
    write_masks(tmp_path, empty=4)
    write_volume(Volume((BOXES.data == 1).astype(np.float32), BOXES.affine), tmp_path / "Lung.A.mha")
    write_volume(Volume(BOXES.data == 2, BOXES.affine), tmp_path / "b.NRRD".lower())
    found = read_mask_folder(tmp_path)
    assert [(each.name, each.num_voxels) for each in found.segments] == [
        ("Lung.A", np.count_nonzero(BOXES.data == 1)),
        ("b", np.count_nonzero(BOXES.data == 2)),
        ("empty", 0),
    ]


def test_masks_on_different_grids_are_refused(tmp_path):
    write_masks(tmp_path, aorta=1)
    write_volume(Volume(BOXES.data[:, 1:], BOXES.affine), tmp_path / "b.nii.gz")
    with pytest.raises(
        MedganError, match=r"all masks must be on one grid, but aorta has 12x10x8 .* and b has 11x10x8 "
    ):
        read_mask_folder(tmp_path)


@pytest.mark.parametrize(
    ("values", "found"),
    [([0, 1, 2], "0, 1, 2"), ([0, 0.5, 1], "0, 0.5, 1"), ([0, -1, 0], "-1, 0"), ([0, 1, np.nan], "0, 1, nan")],
)
def test_what_is_no_mask_of_one_organ_is_refused(tmp_path, values, found):
    write_volume(Volume(np.array(values, np.float32).reshape(1, 3, 1, 1), np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(MedganError, match=rf"x\.nii must be the mask of one organ, .* but holds {found}; a file"):
        read_mask_folder(tmp_path)


def test_two_masks_of_one_name_are_refused(tmp_path):
    write_masks(tmp_path, a=1)
    (tmp_path / "a.nii").write_bytes(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    with pytest.raises(MedganError, match=r"a\.nii and a\.nii\.gz are two masks of one name"):
        read_mask_folder(tmp_path)


def test_a_folder_without_masks_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert not is_mask_folder(tmp_path)
    assert not is_mask_folder(tmp_path / "notes.txt")
    with pytest.raises(MedganError, match=r"must hold mask files .* but there is none"):
        read_mask_folder(tmp_path)


def test_masks_that_take_too_much_together_are_refused(tmp_path):
    write_masks(tmp_path, **{f"m{n}": 1 for n in range(20)})
    with pytest.raises(MedganError, match="is too large: of its segments, 12 take 4,032 bytes"):
        read_mask_folder(tmp_path, max_voxels=960)


def test_a_mask_of_probabilities_is_refused(tmp_path):
    write_masks(tmp_path, heart=3)
    write_volume(Volume((BOXES.data == 1) * np.float32(0.3), BOXES.affine), tmp_path / "aorta.nii.gz")
    with pytest.raises(MedganError, match=r"aorta.nii.gz must be .* one positive whole number, but holds 0, 0.3"):
        read_mask_folder(tmp_path)
