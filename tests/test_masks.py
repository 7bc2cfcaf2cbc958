import numpy as np
import pytest
from scipy import ndimage

from medgan.evaluation.masks import ClassPair, boxes_of

NO_MARGIN = (0, 0, 0)


def class_pair(*, counted=None):
    """Return class 1 in three voxels of the reference and one of the prediction, class 2 in one of the reference."""
    reference, prediction = np.zeros((6, 7, 8), np.uint8), np.zeros((6, 7, 8), np.uint8)
    reference[1, 1:4, 2] = 1
    reference[4, 4, 4] = 2
    prediction[2, 2, 2] = 1
    return ClassPair(reference, prediction, counted)


def test_masks_are_cropped_to_what_both_cover_together():
    masks = class_pair().masks_of((1,), margin=(3, 3, 3))
    assert masks.reference.tolist() == [[[True], [True], [True]], [[False], [False], [False]]]
    assert masks.prediction.tolist() == [[[False], [False], [False]], [[False], [True], [False]]]
    assert masks.counted is None


def test_organ_that_one_side_lacks_is_cropped_to_the_other():
    masks = class_pair().masks_of((2,), margin=NO_MARGIN)
    assert (masks.reference.tolist(), masks.prediction.tolist()) == ([[[True]]], [[[False]]])


def test_organ_that_is_nowhere_has_empty_masks():
    masks = class_pair().masks_of((3,), margin=NO_MARGIN)
    assert not masks.reference.any()
    assert not masks.prediction.any()


def test_several_classes_are_one_mask():
    masks = class_pair().masks_of((1, 2), margin=NO_MARGIN)
    assert masks.reference.shape == (4, 4, 3)
    assert masks.reference.sum() == 4
    assert masks.prediction.sum() == 1


def test_other_organs_in_the_box_are_not_in_the_mask():
    reference = np.array([[[1, 2, 1, 2]]], np.uint8)
    masks = ClassPair(reference, reference).masks_of((1,), margin=NO_MARGIN)
    assert masks.reference.tolist() == [[[True, False, True]]]


def test_margin_is_left_where_not_every_voxel_counts_but_not_beyond_the_volume():
    counted = np.ones((6, 7, 8), bool)
    counted[0, 0, 0] = False
    masks = class_pair(counted=counted).masks_of((1,), margin=(1, 2, 3))
    assert masks.reference.shape == (4, 6, 6)  # along j and k the volume starts 1 and 2 voxels before the mask
    assert masks.reference[1, 1:4, 2].all()
    assert masks.counted.sum() == 4 * 6 * 6 - 1
    assert not masks.counted[0, 0, 0]


@pytest.mark.parametrize("shape", [(20, 18, 15), (30, 30, 1), (1, 30, 30), (1, 1, 40)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_boxes_equal_those_of_scipy(shape, order):
    noise = np.random.default_rng(1).normal(size=shape)
    classes = np.asarray(ndimage.gaussian_filter(noise, 1) * 20, dtype=np.int8).clip(0).astype(np.uint8, order=order)
    classes[classes == 2] = 0
    boxes = boxes_of(classes)
    assert len(boxes) > 2
    assert [boxes.get(n) for n in range(1, classes.max() + 1)] == ndimage.find_objects(classes)


def test_volume_of_one_class_has_one_box_and_an_empty_one_none():
    assert boxes_of(np.full((2, 3, 4), 3, np.uint16)) == {3: (slice(0, 2), slice(0, 3), slice(0, 4))}
    assert boxes_of(np.zeros((2, 3, 4), np.uint8)) == {}
