"""Largest components."""

import numpy as np
import pytest

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.outputs.components import keep_largest_components
from medgan.volume.volume import Volume

LABELS = LabelMap.from_mapping({"lung": 4, "heart": 7})


def volume_of(*rows: list[int]) -> Volume:
    """Return a label volume of one slice, one row of I per list."""
    return Volume(np.array(rows, np.uint8)[None, :, :, None], np.eye(4))


def test_only_the_largest_component_stays() -> None:
    cleaned = keep_largest_components(volume_of([4, 4, 0, 4], [4, 0, 0, 4]), ["lung"], LABELS)
    assert cleaned.data[0, :, :, 0].tolist() == [[4, 4, 0, 0], [4, 0, 0, 0]]


def test_other_organs_stay_as_they_are() -> None:
    cleaned = keep_largest_components(volume_of([7, 4, 0, 7], [4, 4, 0, 7]), ["lung"], LABELS)
    assert cleaned.data[0, :, :, 0].tolist() == [[7, 4, 0, 7], [4, 4, 0, 7]]


def test_voxels_that_touch_by_an_edge_or_a_corner_are_apart() -> None:
    cleaned = keep_largest_components(volume_of([4, 4, 0], [0, 0, 4]), ["lung"], LABELS)
    assert cleaned.data[0, :, :, 0].tolist() == [[4, 4, 0], [0, 0, 0]]


def test_components_reach_through_slices() -> None:
    data = np.zeros((1, 3, 3, 3), np.uint8)
    data[0, 1, 1, :] = 4
    through = data.copy()
    data[0, 2, 2, 0] = 4
    cleaned = keep_largest_components(Volume(data, np.eye(4)), ["lung"], LABELS)
    assert np.array_equal(cleaned.data, through)


def test_organs_are_cleaned_each_on_its_own() -> None:
    cleaned = keep_largest_components(volume_of([4, 7, 7, 4], [4, 0, 7, 0], [0, 7, 0, 0]), ["lung", "heart"], LABELS)
    assert cleaned.data[0, :, :, 0].tolist() == [[4, 7, 7, 0], [4, 0, 7, 0], [0, 0, 0, 0]]


def test_volume_given_is_not_changed_and_grid_and_type_stay() -> None:
    volume = Volume(np.array([4, 0, 4, 4], np.uint16).reshape(1, 4, 1, 1), np.diag([1.0, 2.0, 3.0, 1.0]))
    cleaned = keep_largest_components(volume, ["lung"], LABELS)
    assert volume.data.ravel().tolist() == [4, 0, 4, 4]
    assert cleaned.data.ravel().tolist() == [0, 0, 4, 4]
    assert cleaned.data.dtype == np.uint16
    assert np.array_equal(cleaned.affine, volume.affine)


@pytest.mark.parametrize("rows", [[0, 0, 0], [4, 4, 0]])
def test_none_or_one_component_stays(rows: list[int]) -> None:
    assert keep_largest_components(volume_of(rows), ["lung"], LABELS).data.ravel().tolist() == rows


def test_unknown_organ_is_told_with_the_known_ones() -> None:
    with pytest.raises(MedganError, match=r"outputs\.largest_component: 'liver' is not .*; known are lung, heart"):
        keep_largest_components(volume_of([0]), ["liver"], LABELS)
