import math

import numpy as np
import pytest
from phantoms import oblique_affine
from scipy import ndimage

from medgan.evaluation.boundary_iou import boundary_iou, reach_voxels

AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])
SHEARED = np.array([[1.0, 0.6, 0.0, 0], [0, 1.0, 0.5, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]])
EVERYWHERE = np.ones((9, 9, 1), bool)


def blob(seed, *, shape=(9, 8, 7)):
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 1.5) > 0


def squares():
    """Return a square of 7 x 7 pixels and the same moved by one pixel along j, in an image of 9 x 9."""
    reference = np.zeros((9, 9, 1), bool)
    reference[1:8, 1:8] = True
    return reference, np.roll(reference, 1, axis=1)


def band_by_definition(mask, affine, *, width_mm, counted, flat_axes=()):
    """Return the band of a mask, every voxel of it held against every voxel outside, around the array as well."""
    margin = [0 if axis in flat_axes else 2 for axis in range(3)]
    around = [(n, n) for n in margin]
    inside = np.argwhere(np.pad(mask, around))
    outside = np.argwhere(np.pad(counted, around, constant_values=True) & ~np.pad(mask, around))
    band = np.zeros_like(mask)
    for voxel in inside:
        steps = outside - voxel
        distances = np.linalg.norm(steps @ affine[:3, :3].T, axis=1)
        if distances.min() <= width_mm + 1e-5 or np.abs(steps).sum(axis=1).min() == 1:
            band[tuple(voxel - margin)] = True
    return band


def iou_by_definition(reference, prediction, affine, *, width_mm, counted=None, flat_axes=()):
    options = {"width_mm": width_mm, "flat_axes": flat_axes}
    options["counted"] = np.ones_like(reference) if counted is None else counted
    bands = [band_by_definition(mask, affine, **options) for mask in (reference, prediction)]
    return (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()


def test_iou_of_outlines_matches_counting_by_hand():
    reference, prediction = squares()
    # A band of one pixel: 24 pixels each. They share 2 x 6 pixels of the sides along j and none of those along i.
    assert boundary_iou(reference, prediction, np.eye(4), width_mm=1.0, flat_axes=(2,)) == 12 / 36


def test_width_is_in_mm():
    reference, prediction = squares()
    # 4 mm: two pixels of 2 mm along i, four of 1 mm along j, which is all of the square. So 49 pixels each, 42 shared.
    assert boundary_iou(reference, prediction, AFFINE, width_mm=4.0, flat_axes=(2,)) == 42 / 56
    # 2 mm: one pixel along i, two along j: all but the inner 5 x 3; no diagonal is as short.
    bands = [band_by_definition(m, AFFINE, width_mm=2.0, counted=EVERYWHERE, flat_axes=(2,)) for m in squares()]
    assert bands[0].sum() == 49 - 5 * 3
    iou = boundary_iou(reference, prediction, AFFINE, width_mm=2.0, flat_axes=(2,))
    assert iou == (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()


def test_boundary_voxels_are_in_the_band_however_large_they_are():
    reference, prediction = squares()
    for width_mm in (0.0, 0.5):
        assert boundary_iou(reference, prediction, AFFINE, width_mm=width_mm, flat_axes=(2,)) == 12 / 36


def test_width_holds_in_spite_of_rounding_in_the_affine():
    reference, prediction = squares()
    stretched = np.diag([2 + 1e-7, 1 + 1e-7, 3, 1])
    assert boundary_iou(reference, prediction, stretched, width_mm=4.0, flat_axes=(2,)) == 42 / 56


def test_a_shift_costs_more_at_the_boundary_than_in_the_whole():
    reference, prediction = squares()
    whole = (reference & prediction).sum() / (reference | prediction).sum()
    assert boundary_iou(reference, prediction, np.eye(4), width_mm=1.0, flat_axes=(2,)) < whole


@pytest.mark.parametrize("width_mm", [0.0, 1.0, 2.0, 3.7, 8.0, 1000.0])
@pytest.mark.parametrize("affine", [AFFINE, oblique_affine(left_handed=True), SHEARED], ids=["box", "oblique", "shear"])
def test_equals_the_definition_voxel_by_voxel(affine, width_mm):
    pair = blob(1), blob(2)
    expected = iou_by_definition(*pair, affine, width_mm=width_mm)
    assert 0 < expected < 1
    assert boundary_iou(*pair, affine, width_mm=width_mm) == pytest.approx(expected, rel=1e-12)


def test_2d_image_has_its_boundary_in_the_plane():
    pair = blob(1, shape=(14, 14, 1)), blob(2, shape=(14, 14, 1))
    expected = iou_by_definition(*pair, AFFINE, width_mm=2.0, flat_axes=(2,))
    assert boundary_iou(*pair, AFFINE, width_mm=2.0, flat_axes=(2,)) == pytest.approx(expected)
    assert boundary_iou(*pair, AFFINE, width_mm=2.0) != pytest.approx(expected)  # every pixel lies at a face


def test_voxels_that_do_not_count_make_no_boundary():
    counted = blob(3) | blob(1)
    pair = blob(1) & counted, blob(2) & counted
    expected = iou_by_definition(*pair, AFFINE, width_mm=2.0, counted=counted)
    assert boundary_iou(*pair, AFFINE, width_mm=2.0, counted=counted) == pytest.approx(expected)
    assert boundary_iou(*pair, AFFINE, width_mm=2.0) != pytest.approx(expected)


def test_mask_without_a_boundary_that_counts_is_undefined():
    mask = np.zeros((9, 9, 9), bool)
    mask[3:6, 3:6, 3:6] = True
    assert math.isnan(boundary_iou(mask, mask, np.eye(4), width_mm=1.0, counted=mask))
    smaller = ndimage.binary_erosion(mask)
    for pair in ((mask, smaller), (smaller, mask)):  # the smaller one has a band
        assert math.isnan(boundary_iou(*pair, np.eye(4), width_mm=1.0, counted=mask))


def test_mask_beside_an_empty_one_has_nothing_in_common_with_it_whatever_counts():
    mask, empty = blob(1), np.zeros((9, 8, 7), bool)
    for pair in ((mask, empty), (empty, mask)):
        assert boundary_iou(*pair, AFFINE, width_mm=2.0, counted=mask) == 0


def test_equal_masks_give_one_empty_ones_zero_or_nothing():
    mask, empty = blob(1), np.zeros((9, 8, 7), bool)
    assert boundary_iou(mask, mask, AFFINE, width_mm=2.0) == 1
    assert boundary_iou(mask, empty, AFFINE, width_mm=2.0) == boundary_iou(empty, mask, AFFINE, width_mm=2.0) == 0
    assert math.isnan(boundary_iou(empty, empty, AFFINE, width_mm=2.0))


def test_wide_band_is_the_whole_mask():
    pair = blob(1), blob(2)
    assert boundary_iou(*pair, AFFINE, width_mm=1e6) == (pair[0] & pair[1]).sum() / (pair[0] | pair[1]).sum()


def test_reach_is_how_many_voxels_lie_within_a_distance():
    assert reach_voxels(AFFINE, 4.0) == (2, 4, 1)
    assert reach_voxels(AFFINE, 0.0) == (1, 1, 1)
    assert reach_voxels(oblique_affine(), 6.0) == (4, 3, 2)
