"""Named masks: what becomes of names, numbers and overlaps in a label volume, and masks laid on another grid."""

import numpy as np
import pytest
from phantoms import box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.labels import CodedTerm, LabelMap
from medgan.volume.regrid import label_on_grid_of, segments_on_grid_of, turn_between
from medgan.volume.segments import Segment, Segments, boxes_of, gathered
from medgan.volume.volume import Volume, same_grid

LUNGS = LabelMap.from_mapping({"left_lung": {"value": 5, "synonyms": ["upper_left", "lower_left"]}, "right_lung": 300})


def row(*marked: int) -> np.ndarray:
    """Return a mask of 6 voxels in a row that marks some."""
    mask = np.zeros((6, 1, 1), bool)
    mask[list(marked)] = True
    return mask


def segments(*named: tuple[str, np.ndarray]) -> Segments:
    masks = [Segment.from_mask(number, name, mask) for number, (name, mask) in enumerate(named, start=1)]
    return Segments(tuple(masks), (6, 1, 1), np.eye(4))


def test_a_mask_is_kept_within_its_bounding_box():
    mask = np.zeros((5, 6, 7), bool)
    mask[1:3, 2, 4:7] = True
    segment = Segment.from_mask(4, "x", mask, color=(1, 2, 3))
    assert (segment.start, segment.mask.shape, segment.num_voxels) == ((1, 2, 4), (2, 1, 3), 6)
    assert segment.box == (slice(1, 3), slice(2, 3), slice(4, 7))
    nothing = Segment.from_mask(1, "x", np.zeros((5, 6, 7), bool))
    assert (nothing.start, nothing.mask.shape, nothing.num_voxels) == ((0, 0, 0), (0, 0, 0), 0)


@pytest.mark.parametrize("values", [(2, 300), (70000, 2**32 - 1)])
def test_boxes_of_values_are_those_of_their_voxels(values):
    data = np.zeros((3, 4, 5), np.uint32)
    data[1, 1:3, 4], data[2, 3, :2] = values
    assert boxes_of(data) == {
        values[0]: (slice(1, 2), slice(1, 3), slice(4, 5)),
        values[1]: (slice(2, 3), slice(3, 4), slice(0, 2)),
    }


def test_segments_that_take_too_much_together_are_refused_before_all_are_made():
    made = []

    def endless():
        while True:
            made.append(Segment.from_mask(1, "SECRET", row(0, 5)))
            yield made[-1]

    with pytest.raises(MedganError, match=r"^x is too large: of its segments, 3 take 18 bytes with what lies between"):
        gathered(endless(), max_voxels=4, where="x")
    assert len(made) == 3


def test_without_organs_numbers_become_values():
    label = segments(("a", row(0)), ("b", row(3, 4)), ("c", row())).to_label(None, where="x")
    assert (label.data.ravel().tolist(), label.data.dtype) == ([1, 0, 0, 2, 2, 0], np.uint8)


def test_names_become_the_values_of_their_organs_and_others_are_left_out():
    found = segments(("Lung_R", row(0)), ("Heart", row(1)), ("Lt Lung", row(2)))
    label = found.to_label(LUNGS, where="x")
    assert (label.data.ravel().tolist(), label.data.dtype) == ([300, 0, 5, 0, 0, 0], np.uint16)


def test_segments_of_one_organ_are_joined_without_a_word():
    label = segments(("upper_left", row(0, 1)), ("lower_left", row(1, 2))).to_label(LUNGS, where="x")
    assert label.data.ravel().tolist() == [5, 5, 5, 0, 0, 0]


def test_the_later_of_two_that_overlap_wins_and_the_pair_is_told():
    both = segments(("SECRET", row(0, 1, 2)), ("b", row(2, 1)))
    with pytest.warns(UserWarning, match=r"^x: segment 1 and segment 2 overlap in 2 voxels; the label volume says"):
        assert both.to_label(None, where="x").data.ravel().tolist() == [1, 2, 2, 0, 0, 0]
    lungs = segments(("Lung_R", row(0, 1)), ("Lung_L", row(1)))
    with pytest.warns(UserWarning, match="right_lung and left_lung overlap in 1 voxels; .* says left_lung there"):
        assert lungs.to_label(LUNGS, where="x").data.ravel().tolist() == [300, 5, 0, 0, 0, 0]


def test_where_no_segment_is_an_organ_the_way_out_is_told_but_not_the_names():
    with pytest.raises(
        MedganError, match=r"^x: none of its 1 segments is an organ .* \(left_lung, right_lung\)"
    ) as told:
        segments(("SECRET", row(0))).to_label(LUNGS, where="x")
    assert "synonyms" in str(told.value)
    assert "SECRET" not in str(told.value)


def test_a_segment_that_may_be_two_organs_is_refused_by_number():
    code = CodedTerm("SCT", "3341006", "Right lung")
    coded = LabelMap.from_mapping(
        {"left_lung": 1, "right_lung": {"value": 2, "code": {"scheme": "SCT", "value": "3341006", "meaning": "x"}}}
    )
    found = Segments((Segment.from_mask(7, "Lung_L", row(0), code=code),), (6, 1, 1), np.eye(4))
    with pytest.raises(MedganError, match=r"^x: segment 7: its name and coded term could mean left_lung or right_lung"):
        found.to_label(coded, where="x")


def turned(volume: Volume, order=(2, 0, 1), flips=(True, False, True)) -> Volume:
    """Return the same voxels with axes in another order and direction."""
    index = np.eye(4)
    index[:3, :3] = np.eye(3)[:, list(order)] * [-1 if flip else 1 for flip in flips]
    index[:3, 3] = sum((volume.shape[a] - 1) * np.eye(3)[a] for a, flip in zip(order, flips, strict=True) if flip)
    data = volume.data[0].transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return Volume(data[None], volume.affine @ index)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("flips", [(False,) * 3, (True, False, True), (True, True, True)])
def test_a_label_of_the_same_voxels_is_laid_on_the_grid_of_its_image(order, flips):
    label = box_volume(affine=oblique_affine(), labels=True)
    laid = label_on_grid_of(label, turned(label, order, flips))
    assert same_grid(laid, label, tolerance_mm=1e-6)
    np.testing.assert_array_equal(laid.data, label.data)


def test_a_label_of_other_voxels_is_left_as_it_is():
    label = box_volume(affine=oblique_affine(), labels=True)
    shifted = label.affine.copy()
    shifted[:3, 3] += 0.2
    cropped = Volume(label.data[:, 1:], label.affine)
    for other in (Volume(label.data, shifted), Volume(label.data, label.affine @ np.diag([2, 1, 1, 1.0])), cropped):
        assert label_on_grid_of(label, other) is other


def test_a_cropped_grid_lies_where_it_was_cut_from():
    label = box_volume(affine=oblique_affine(), labels=True)
    affine = label.affine.copy()
    affine[:3, 3] = (label.affine @ [0, 2, 1, 1])[:3]
    part = turned(Volume(label.data[:, :, 2:, 1:6], affine))
    found = Segments((Segment.from_mask(1, "a", part.data[0] == 1),), part.shape, part.affine)
    laid = segments_on_grid_of(label, found).to_label(None, where="x")
    expected = label.data == 1
    expected[..., 0] = expected[..., 6:] = False
    assert same_grid(laid, label)
    np.testing.assert_array_equal(laid.data, expected)


def test_segments_that_reach_out_of_the_image_stay_on_their_own_grid():
    label = box_volume(affine=oblique_affine(), labels=True)
    found = Segments((Segment.from_mask(1, "a", label.data[0] == 1),), label.shape, label.affine)
    image = Volume(label.data[..., :3], label.affine)
    assert segments_on_grid_of(image, found) is found


def test_what_small_error_adds_up_to_at_the_corners_counts():
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    stretched = np.diag([1.0, 1.0, 1.001, 1.0])
    assert turn_between(stretched, (10, 10, 40), affine) is not None
    assert turn_between(stretched, (10, 10, 60), affine) is None
