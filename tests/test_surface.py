import math

import numpy as np
import pytest
from phantoms import oblique_affine
from scipy import ndimage

from medgan.evaluation.surface import SURFACES, SurfaceDistances, boundary, flat_axes_of, surface_distances

SPACING_MM = (2.0, 1.0, 3.0)
AFFINE = np.diag([*SPACING_MM, 1.0])
SHEARED = np.array([[1, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
both_surfaces = pytest.mark.parametrize("surface", SURFACES)


def mask(*voxels, shape=(9, 9, 9)):
    array = np.zeros(shape, bool)
    for voxel in voxels:
        array[voxel] = True
    return array


def blob(seed, *, shape=(40, 36, 30), threshold=0.02):
    """Return smooth random shapes that touch the border of the array."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 3) > threshold


def voxel_distances(reference, prediction, affine=AFFINE, **options):
    return surface_distances(reference, prediction, affine, surface="voxels", **options)


def area_distances(reference, prediction, affine=AFFINE, **options):
    return surface_distances(reference, prediction, affine, surface="area", **options)


def all_metrics(distances, tolerance_mm=2.0):
    return (
        distances.hausdorff_mm,
        distances.percentile_mm(95),
        distances.assd_mm,
        distances.surface_dice(tolerance_mm),
    )


def test_single_voxels_are_as_far_apart_as_their_centres():
    distances = voxel_distances(mask((1, 1, 1)), mask((2, 3, 2)))  # 1, 2, 1 steps of 2, 1, 3 mm
    expected = math.sqrt(2**2 + 2**2 + 3**2)
    assert all_metrics(distances) == (*[pytest.approx(expected)] * 3, 0.0)
    assert distances.surface_dice(4.13) == 1.0


def test_directed_distances_match_hand_arithmetic():
    reference = mask((0, 0, 0), (0, 4, 0))
    prediction = mask((0, 0, 0), (3, 0, 0), (0, 0, 2))  # 6 mm along i, 6 mm along k
    distances = voxel_distances(reference, prediction)
    assert sorted(distances.to_prediction_mm) == [0, 4]
    assert sorted(distances.to_reference_mm) == [0, 6, 6]
    assert distances.hausdorff_mm == 6
    assert distances.percentile_mm(50) == 6  # the larger of medians 2 and 6
    assert distances.percentile_mm(95) == 6  # of (0, 4): 3.8
    assert distances.assd_mm == (0 + 4 + 0 + 6 + 6) / 5
    assert distances.surface_dice(4.0) == 3 / 5
    assert distances.surface_dice(3.9) == 2 / 5


def test_corners_of_single_voxels_match_hand_arithmetic():
    # The corners of one voxel are 1 to 2 along each axis, of the other 2 to 3, 3 to 4, 2 to 3: apart by 2 or 0 mm along
    # i, 2 or 1 mm along j, 3 or 0 mm along k. Each stands for 1/8 of (3, 6, 2) mm², which is 7/8 mm².
    distances = area_distances(mask((1, 1, 1)), mask((2, 3, 2)))
    squares = [i + j + k for i in (4, 0) for j in (4, 1) for k in (9, 0)]
    assert np.sort(distances.to_prediction_mm**2) == pytest.approx(sorted(squares))
    assert distances.weights[0] == pytest.approx(np.full(8, 7 / 8))
    assert distances.hausdorff_mm == pytest.approx(math.sqrt(17))
    assert distances.percentile_mm(50) == pytest.approx(math.sqrt(8))  # the fourth of eight
    assert distances.percentile_mm(51) == pytest.approx(math.sqrt(10))
    assert distances.assd_mm == pytest.approx(np.sqrt(squares).mean())
    assert distances.surface_dice(2.0) == 2 / 8


def test_elements_count_by_their_area():
    distances = SurfaceDistances(
        np.array([5.0, 1.0]), np.array([2.0, 3.0]), (np.array([1.0, 9.0]), np.array([6.0, 4.0]))
    )
    assert distances.percentile_mm(50) == 2.0  # the larger of 1 (90 % of the area) and 2 (60 %)
    assert distances.percentile_mm(90) == 3.0
    assert distances.percentile_mm(91) == distances.hausdorff_mm == 5.0
    assert distances.assd_mm == (5 * 1 + 1 * 9 + 2 * 6 + 3 * 4) / 20
    assert distances.surface_dice(2.0) == (9 + 6) / 20


def test_a_thin_spike_counts_for_less_by_area_than_by_voxels():
    slab = np.zeros((30, 30, 30), bool)
    slab[:, :, :10] = True
    spiked = slab.copy()
    spiked[15, 15, 10:30] = True
    assert area_distances(spiked, slab, np.eye(4)).hausdorff_mm == 20
    assert voxel_distances(spiked, slab, np.eye(4)).hausdorff_mm == 20
    assert area_distances(spiked, slab, np.eye(4)).percentile_mm(95) == 0


def test_percentiles_are_taken_per_direction_and_then_the_larger_one():
    distances = SurfaceDistances(np.arange(101.0), np.array([0.0, 10.0]))
    assert distances.percentile_mm(95) == 95.0
    assert SurfaceDistances(np.array([0.0, 10.0]), np.arange(101.0)).percentile_mm(95) == 95.0


@both_surfaces
def test_tolerance_holds_in_spite_of_rounding_in_the_affine(surface):
    square, shifted = mask(np.s_[2:5, 2, 2]), mask(np.s_[2:5, 4, 2])
    distances = surface_distances(square, shifted, np.diag([1, 1 + 1e-7, 1, 1.0]), surface=surface)
    assert distances.hausdorff_mm > 2
    assert distances.surface_dice(2.0) == 1.0
    assert distances.surface_dice(1.9) < 1.0


def test_boundary_is_what_has_a_face_neighbour_outside():
    cube = np.zeros((7, 7, 7), bool)
    cube[1:6, 1:6, 1:6] = True
    assert boundary(cube).sum() == 5**3 - 3**3
    assert boundary(np.ones((4, 4, 4), bool)).sum() == 4**3 - 2**3  # beyond the volume is outside
    cube[3, 3, 3] = False
    assert boundary(cube).sum() == 5**3 - 3**3 + 6  # a hole has a surface


def test_surface_of_a_2d_image_is_its_outline():
    square = np.zeros((9, 9, 1), bool)
    square[2:7, 2:7] = True
    assert flat_axes_of(square.shape) == (2,)
    assert boundary(square, flat_axes=(2,)).sum() == 16
    assert boundary(square).sum() == 25
    assert flat_axes_of((1, 1, 1)) == ()


@pytest.mark.parametrize("affine", [AFFINE, oblique_affine() @ np.diag([2 / 1.5, 1 / 2, 1, 1])])
def test_outline_of_a_2d_image_is_measured_by_length_in_its_plane(affine):
    rectangle = mask(np.s_[2:5, 2:7, 0], shape=(9, 9, 1))  # 3 x 5 pixels of 2 x 1 mm
    distances = area_distances(rectangle, mask(np.s_[2:6, 2:7, 0], shape=(9, 9, 1)), affine, flat_axes=(2,))
    corner = math.sqrt(2**2 + 1**2) / 2
    assert distances.weights[0].sum() == pytest.approx(2 * 2 * 2 + 2 * 4 * 1 + 4 * corner)
    assert distances.weights[0].size == 2 * (4 + 6) - 4
    assert distances.hausdorff_mm == pytest.approx(2)
    too_far = 2 * 1 + 4 * 1 + 2 * corner  # the middle of one end, and the whole end that lies 2 mm beyond it
    total = sum(lengths.sum() for lengths in distances.weights)
    assert distances.surface_dice(1.9) == pytest.approx(1 - too_far / total)


def test_a_row_of_voxels_has_two_ends():
    row = mask(np.s_[2:5, 0, 0], shape=(9, 1, 1))
    distances = area_distances(row, mask(np.s_[2:7, 0, 0], shape=(9, 1, 1)), flat_axes=(1, 2))
    assert distances.to_prediction_mm.tolist() == [0, 4]
    assert distances.weights[0] == pytest.approx([1, 1])


@both_surfaces
def test_cropping_to_what_the_masks_cover_changes_nothing(surface):
    reference, prediction = np.pad(blob(1), 5), np.pad(blob(2), 5)
    whole = surface_distances(reference, prediction, AFFINE, surface=surface)
    (box,) = ndimage.find_objects((reference | prediction).astype(np.uint8))
    cropped = surface_distances(reference[box], prediction[box], AFFINE, surface=surface)
    assert all_metrics(cropped) == pytest.approx(all_metrics(whole))


@both_surfaces
def test_equal_masks_are_at_distance_zero(surface):
    assert all_metrics(surface_distances(blob(1), blob(1), AFFINE, surface=surface)) == (0, 0, 0, 1)


@both_surfaces
def test_one_empty_mask_leaves_distances_undefined_and_surface_dice_zero(surface):
    empty = np.zeros_like(blob(1))
    for pair in ((blob(1), empty), (empty, blob(1))):
        *in_mm, surface_dice = all_metrics(surface_distances(*pair, AFFINE, surface=surface))
        assert np.isnan(in_mm).all()
        assert surface_dice == 0


@both_surfaces
@pytest.mark.parametrize("shape", [(4, 4, 4), (1, 1, 1), (5, 1, 1)])
def test_both_masks_empty_leaves_everything_undefined(surface, shape):
    empty = np.zeros(shape, bool)
    distances = surface_distances(empty, empty, AFFINE, surface=surface, flat_axes=flat_axes_of(shape))
    assert np.isnan(all_metrics(distances)).all()


@both_surfaces
@pytest.mark.parametrize("left_handed", [False, True])
def test_turning_the_grid_in_space_changes_no_distance(surface, left_handed):
    straight = surface_distances(blob(1), blob(2), np.diag([1.5, 2.0, 3.0, 1.0]), surface=surface)
    turned = surface_distances(blob(1), blob(2), oblique_affine(left_handed=left_handed), surface=surface)
    assert all_metrics(turned) == pytest.approx(all_metrics(straight), rel=1e-6)


@both_surfaces
@pytest.mark.parametrize("affine", [AFFINE, SHEARED], ids=["box", "sheared"])
@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("backwards", [(), (0, 2), (1,)])
def test_the_order_and_direction_of_axes_change_nothing(surface, affine, order, backwards):
    pair = [noise > 0.5 for noise in np.random.default_rng(1).random((2, 9, 8, 7))]  # elements of every kind
    straight = surface_distances(*pair, affine, surface=surface)
    columns = affine[:, [*order, 3]] * [-1 if axis in backwards else 1 for axis in range(4)]
    turned = [np.flip(m.transpose(order), backwards) for m in pair]
    found = all_metrics(surface_distances(*turned, columns, surface=surface), tolerance_mm=0.5)
    assert found == pytest.approx(all_metrics(straight, tolerance_mm=0.5), rel=1e-9)


@both_surfaces
def test_sheared_grid_is_measured_in_the_world(surface):
    distances = surface_distances(mask((1, 1, 0)), mask((1, 1, 2)), SHEARED, surface=surface)
    apart_mm = math.hypot(1, 4) if surface == "voxels" else math.hypot(0.5, 2)  # centres, facing corners
    assert distances.to_prediction_mm.min() == pytest.approx(apart_mm)
    assert distances.hausdorff_mm == pytest.approx(math.hypot(1, 4))


@both_surfaces
def test_what_touches_a_voxel_that_does_not_count_is_not_measured_from(surface):
    reference, prediction = mask((2, 2, 2), (6, 6, 6)), mask((2, 2, 2), (6, 6, 7))
    counted = ~mask((6, 5, 7))  # touches the voxel that only the prediction has, and a corner of the reference's
    distances = surface_distances(reference, prediction, np.eye(4), surface=surface, counted=counted)
    if surface == "voxels":
        assert distances.to_reference_mm.tolist() == [0]
        assert distances.to_prediction_mm.tolist() == [0, 1]  # still what others are near to
    else:  # of the eight corners of (6, 6, 7), four touch it; of (6, 6, 6), two
        assert sorted(distances.to_reference_mm) == [0] * 8 + [0, 0, 1, 1]
        assert sorted(distances.to_prediction_mm) == [0] * 8 + [0, 0, 1, 1, 1, 1]
    assert distances.surface_dice(0.5) < 1


@both_surfaces
def test_surface_dice_of_a_mask_beside_an_empty_one_is_zero_whatever_counts(surface):
    one, empty = mask((2, 2, 2)), mask()
    for pair in ((one, empty), (empty, one)):
        distances = surface_distances(*pair, AFFINE, surface=surface, counted=one)
        assert distances.surface_dice(2.0) == 0
        assert np.isnan([distances.hausdorff_mm, distances.assd_mm, distances.percentile_mm(95)]).all()


@both_surfaces
def test_one_measured_surface_gives_a_share_and_no_distance(surface):
    reference, prediction = mask((2, 2, 2), (6, 6, 6)), mask((2, 2, 2))
    counted = ~mask(np.s_[1:4, 1:4, 1:4]) | mask((2, 2, 2))  # all around the prediction is ignored
    distances = surface_distances(reference, prediction, AFFINE, surface=surface, counted=counted)
    assert distances.to_reference_mm.size == 0
    assert distances.to_prediction_mm.size > 0
    *in_mm, surface_dice = all_metrics(distances)
    assert np.isnan(in_mm).all()
    assert surface_dice == 0
    assert distances.surface_dice(100.0) == 1


@both_surfaces
def test_a_mask_without_counted_surface_has_no_distances(surface):
    one = mask((2, 2, 2))
    distances = surface_distances(one, one, AFFINE, surface=surface, counted=np.zeros_like(one))
    assert np.isnan(all_metrics(distances)).all()
