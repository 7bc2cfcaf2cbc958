import math

import numpy as np
import pytest
from phantoms import oblique_affine
from scipy import ndimage

from medgan.evaluation import surface
from medgan.evaluation.surface import SurfaceDistances, boundary, boundary_voxel_distances, flat_axes_of

SPACING_MM = (2.0, 1.0, 3.0)
AFFINE = np.diag([*SPACING_MM, 1.0])


def mask(*voxels, shape=(9, 9, 9)):
    array = np.zeros(shape, bool)
    for voxel in voxels:
        array[voxel] = True
    return array


def blob(seed, *, shape=(40, 36, 30), threshold=0.02):
    """Return smooth random shapes that touch the border of the array."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 3) > threshold


def all_metrics(distances, tolerance_mm=2.0):
    return (
        distances.hausdorff_mm,
        distances.hd95_mm,
        distances.assd_mm,
        distances.surface_dice(tolerance_mm),
    )


def test_single_voxels_are_as_far_apart_as_their_centres():
    distances = boundary_voxel_distances(mask((1, 1, 1)), mask((2, 3, 2)), AFFINE)  # 1, 2, 1 steps of 2, 1, 3 mm
    expected = math.sqrt(2**2 + 2**2 + 3**2)
    assert all_metrics(distances) == (*[pytest.approx(expected)] * 3, 0.0)
    assert distances.surface_dice(4.13) == 1.0


def test_directed_distances_match_hand_arithmetic():
    reference = mask((0, 0, 0), (0, 4, 0))
    prediction = mask((0, 0, 0), (3, 0, 0), (0, 0, 2))  # 6 mm along i, 6 mm along k
    distances = boundary_voxel_distances(reference, prediction, AFFINE)
    assert sorted(distances.to_prediction_mm) == [0, 4]
    assert sorted(distances.to_reference_mm) == [0, 6, 6]
    assert distances.hausdorff_mm == 6
    assert distances.percentile_mm(50) == 6  # the larger of medians 2 and 6
    assert distances.hd95_mm == 6  # of (0, 4): 3.8
    assert distances.assd_mm == (0 + 4 + 0 + 6 + 6) / 5
    assert distances.surface_dice(4.0) == 3 / 5
    assert distances.surface_dice(3.9) == 2 / 5


def test_percentiles_are_taken_per_direction_and_then_the_larger_one():
    distances = SurfaceDistances(np.arange(101.0), np.array([0.0, 10.0]))
    assert distances.hd95_mm == 95.0
    assert SurfaceDistances(np.array([0.0, 10.0]), np.arange(101.0)).hd95_mm == 95.0


def test_tolerance_holds_in_spite_of_rounding_in_the_affine():
    distances = boundary_voxel_distances(mask((0, 0, 0)), mask((0, 2, 0)), np.diag([1, 1 + 1e-7, 1, 1.0]))
    assert distances.hausdorff_mm > 2
    assert distances.surface_dice(2.0) == 1.0


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


def test_cropping_to_what_the_masks_cover_changes_nothing():
    reference, prediction = np.pad(blob(1), 5), np.pad(blob(2), 5)
    whole = boundary_voxel_distances(reference, prediction, AFFINE)
    (box,) = ndimage.find_objects((reference | prediction).astype(np.uint8))
    cropped = boundary_voxel_distances(reference[box], prediction[box], AFFINE)
    assert all_metrics(cropped) == pytest.approx(all_metrics(whole))


def test_equal_masks_are_at_distance_zero():
    assert all_metrics(boundary_voxel_distances(blob(1), blob(1), AFFINE)) == (0, 0, 0, 1)


def test_one_empty_mask_leaves_distances_undefined_and_surface_dice_zero():
    empty = np.zeros_like(blob(1))
    for pair in ((blob(1), empty), (empty, blob(1))):
        *in_mm, surface_dice = all_metrics(boundary_voxel_distances(*pair, AFFINE))
        assert np.isnan(in_mm).all()
        assert surface_dice == 0


def test_both_masks_empty_leaves_everything_undefined():
    empty = np.zeros((4, 4, 4), bool)
    assert np.isnan(all_metrics(boundary_voxel_distances(empty, empty, AFFINE))).all()


@pytest.mark.parametrize("left_handed", [False, True])
def test_turning_the_grid_in_space_changes_no_distance(left_handed):
    straight = boundary_voxel_distances(blob(1), blob(2), np.diag([1.5, 2.0, 3.0, 1.0]))
    turned = boundary_voxel_distances(blob(1), blob(2), oblique_affine(left_handed=left_handed))
    assert all_metrics(turned) == pytest.approx(all_metrics(straight), rel=1e-9)


def test_sheared_grid_is_measured_in_the_world():
    sheared = np.array([[1, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    distances = boundary_voxel_distances(mask((0, 0, 0)), mask((0, 0, 2)), sheared)
    assert distances.hausdorff_mm == pytest.approx(math.hypot(1, 4))
    far = boundary_voxel_distances(blob(1), np.roll(blob(1, threshold=0.05), 20, axis=0), sheared)
    points = [np.argwhere(boundary(m)) @ sheared[:3, :3].T for m in (blob(1), np.roll(blob(1, threshold=0.05), 20, 0))]
    brute = np.sqrt(((points[0][:200, None] - points[1][None]) ** 2).sum(-1)).min(1)
    assert far.to_prediction_mm[:200] == pytest.approx(brute)


def test_far_surfaces_are_measured_alike_by_tree_and_by_distance_map(monkeypatch):
    near, far = np.zeros((90, 40, 40), bool), np.zeros((90, 40, 40), bool)
    near[2:30, 5:35, 5:35], far[60:85, 10:30, 2:20] = True, True
    monkeypatch.setattr(surface, "_MAP_VOXELS_PER_FAR_POINT", 0)
    by_tree = boundary_voxel_distances(near, far, AFFINE)
    monkeypatch.setattr(surface, "_MAP_VOXELS_PER_FAR_POINT", 10**9)
    by_map = boundary_voxel_distances(near, far, AFFINE)
    assert by_map.to_prediction_mm == pytest.approx(by_tree.to_prediction_mm, rel=1e-6)
    assert by_map.to_reference_mm == pytest.approx(by_tree.to_reference_mm, rel=1e-6)
    assert not np.array_equal(by_map.to_reference_mm, by_tree.to_reference_mm)  # two ways were taken: float32 shows


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI 1.6.1 warns of itself
@pytest.mark.parametrize("seeds", [(1, 2), (3, 4)])
@pytest.mark.parametrize("shape", [(40, 36, 30), (48, 50, 1)])
def test_metrics_equal_those_of_monai(seeds, shape):
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    reference, prediction = (blob(seed, shape=shape) for seed in seeds)
    ours = boundary_voxel_distances(reference, prediction, AFFINE, flat_axes=flat_axes_of(shape))
    y, y_pred = (torch.from_numpy(m.squeeze())[None, None].float() for m in (reference, prediction))
    options = {"include_background": True, "spacing": list(SPACING_MM[: y.ndim - 2])}
    theirs = (
        compute_hausdorff_distance(y_pred, y, **options).item(),
        compute_hausdorff_distance(y_pred, y, percentile=95, **options).item(),
        compute_average_surface_distance(y_pred, y, symmetric=True, **options).item(),
        compute_surface_dice(y_pred, y, class_thresholds=[2.0], **options).item(),
    )
    assert all_metrics(ours) == pytest.approx(theirs, rel=1e-6)


def test_hausdorff_of_disjoint_shapes_equals_that_of_simpleitk():
    import SimpleITK as sitk  # noqa: N813

    left, right = blob(5), blob(6)  # ITK measures from whole masks; for disjoint ones that is from their surfaces
    left[18:], right[:22] = False, False
    images = [sitk.GetImageFromArray(m.astype(np.uint8)) for m in (left, right)]
    for image in images:
        image.SetSpacing(SPACING_MM[::-1])
    between = sitk.HausdorffDistanceImageFilter()
    between.Execute(*images)
    ours = boundary_voxel_distances(left, right, AFFINE)
    assert ours.hausdorff_mm == pytest.approx(between.GetHausdorffDistance(), rel=1e-6)
