import numpy as np
import pytest
from test_overlay import LABELS, RAS, box, four_organs, stored_otherwise

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.report.slice_choice import telling_voxel
from medgan.volume.volume import Volume


def cut(prediction, reference, labels=LABELS):
    return telling_voxel(prediction, reference, labels, where="case")


def without(volume, value):
    return Volume(np.where(volume.data == value, 0, volume.data), volume.affine)


def test_slices_go_through_an_organ_that_was_missed():
    assert cut(without(four_organs(), 3), four_organs()) == (20, 34, 20)
    assert cut(without(four_organs(), 9), four_organs()) == (20, 20, 34)


def test_slices_are_found_however_the_volume_is_stored():
    reference = four_organs()
    prediction = without(reference, 1)
    stored = cut(*map(stored_otherwise, (prediction, reference)))
    point = stored_otherwise(reference).affine @ (*stored, 1)
    assert np.abs(point[:3] - RAS[:3, :3] @ cut(prediction, reference)).max() <= 2  # the voxel of the same place


def test_a_small_organ_missed_counts_more_than_the_rim_of_a_large_one():
    data = np.zeros((1, 60, 60, 60), np.uint8)
    data[0, 5:40, 5:40, 5:40] = 1
    data[0, 50:53, 50:53, 50:53] = 2
    grown = data.copy()
    grown[0, 40, 5:40, 5:40] = 1  # 1225 voxels, a 71st of the large one
    grown[grown == 2] = 0  # 27 voxels, all of the small one
    assert cut(Volume(grown, RAS), Volume(data, RAS)) == (51, 51, 51)


def test_equal_volumes_are_cut_through_the_middle_of_the_organs():
    assert cut(box(), box()) == (19, 19, 19)
    assert cut(box(), None) == (19, 19, 19)


def test_without_organs_the_middle_of_the_grid_is_shown():
    empty = Volume(np.zeros((1, 5, 8, 1), np.uint8), RAS)
    assert cut(empty, empty) == cut(empty, None) == (2, 4, 0)


def test_an_invented_organ_is_shown_where_the_reference_is_empty():
    empty = Volume(np.zeros((1, 40, 40, 40), np.uint8), RAS)
    assert cut(box(shift=10), empty) == (30, 20, 20)


def test_ignored_voxels_do_not_count_as_disagreement():
    labels = LabelMap.from_mapping({"organ": 1, "ignore": 255})
    reference = box(size=10).data.copy()
    reference[0, :, :, 30:] = 255
    prediction = box(size=10).data.copy()
    prediction[0, :, :, 30:] = 1
    prediction[0, 15:25, 15:25, 16] = 0
    assert cut(Volume(prediction, RAS), Volume(reference, RAS), labels)[2] == 16


def test_large_disagreement_is_sampled_and_the_slice_still_found():
    generator = np.random.default_rng(0)
    reference = generator.integers(0, 2, (1, 160, 160, 160), dtype=np.uint8)
    prediction = generator.integers(0, 2, (1, 160, 160, 160), dtype=np.uint8)
    prediction[..., 100] = 1 - reference[..., 100]  # half of the voxels disagree, here all
    assert cut(Volume(prediction, RAS), Volume(reference, RAS))[2] == 100


def test_unknown_labels_are_refused():
    with pytest.raises(MedganError, match=r"case: label values \[5\] are not in the label map"):
        cut(box(), box(value=5))
