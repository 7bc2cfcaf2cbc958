"""Our surface distances against those of the tools that people quote, each by its own definition."""

import itertools

import numpy as np
import pytest
from phantoms import SHARED
from scipy import ndimage

from medgan.evaluation.surface import flat_axes_of, surface_distances
from medgan.volume.readers import read_label

DATA = SHARED / "data"
PERCENTILES = (100, 95, 50)
TOLERANCES_MM = (0.5, 1.0, 2.0, 3.0)
SPACINGS_MM = [(1.0, 1.0, 1.0), (2.0, 1.0, 3.0), (0.7, 0.7, 5.0)]

pytestmark = [
    pytest.mark.filterwarnings("ignore:Please import .* from the .scipy.ndimage. namespace:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning"),  # MONAI 1.6.1 warns of itself
]


def blobs(*seeds, shape=(30, 27, 24), sigma=3.0):
    """Return smooth random shapes that touch the border of the array, one mask per seed."""
    noise = (np.random.default_rng(seed).normal(size=shape) for seed in seeds)
    return [ndimage.gaussian_filter(values, sigma) > 0.02 for values in noise]


def boxes(seed, *, shape):
    """Return two masks of a few boxes of random size and a voxel, some at the border of the array."""
    rng, masks = np.random.default_rng(seed), np.zeros((2, *shape), bool)
    for mask, _ in itertools.product(masks, range(3)):
        ends = [sorted(rng.integers(0, size + 1, 2)) for size in shape]
        mask[tuple(slice(start, max(stop, start + 1)) for start, stop in ends)] = True
        mask.flat[rng.integers(mask.size)] = True
    return masks


def with_errors(mask, seed):
    """Return a mask with some of it missing and some added, deep and far from its surface too."""
    changed = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=mask.shape), 2) > 0.1
    return [mask, mask ^ changed]


def boxes_far_apart():
    masks = np.zeros((2, 90, 30, 30), bool)
    masks[0, :20, 5:25, 5:20], masks[1, 70:, 10:30, 12:] = True, True
    return masks


def single_voxels():
    masks = np.zeros((2, 6, 6, 6), bool)
    masks[0, 0, 0, 0] = masks[1, 3, 5, 4] = True
    return masks


SHAPES = {
    "blobs": lambda: blobs(1, 2),
    "blob with errors": lambda: with_errors(*blobs(1), seed=5),
    "fine structure": lambda: blobs(3, 4, sigma=1.0),
    "boxes far apart": boxes_far_apart,
    "single voxels": single_voxels,
    "whole array": lambda: [np.ones((12, 9, 7), bool), boxes(7, shape=(12, 9, 7))[1]],
    "one slice": lambda: blobs(1, 2, shape=(60, 50, 1)),
    "one slice, fine": lambda: blobs(1, 2, shape=(60, 50, 1), sigma=1.0),
    "one slice, boxes": lambda: boxes(3, shape=(11, 13, 1)),
    **{f"boxes {n}": lambda n=n: boxes(n, shape=np.random.default_rng(n).integers(2, 14, 3)) for n in range(6)},
}
shapes = pytest.mark.parametrize("shape", SHAPES)
spacings = pytest.mark.parametrize("spacing_mm", SPACINGS_MM)


def distances_between(masks, spacing_mm, *, surface):
    flat_axes = flat_axes_of(masks[0].shape)
    return surface_distances(*masks, np.diag([*spacing_mm, 1.0]), surface=surface, flat_axes=flat_axes)


def as_peers_have_it(masks, spacing_mm):
    """Return masks of one slice, and their spacing, as 2D."""
    return [mask.squeeze() for mask in masks], [mm for mm, n in zip(spacing_mm, masks[0].shape, strict=True) if n > 1]


def check_deepmind(masks, spacing_mm):
    import surface_distance as deepmind

    peers_masks, peers_spacing_mm = as_peers_have_it(masks, spacing_mm)
    theirs = deepmind.compute_surface_distances(*peers_masks, peers_spacing_mm)
    ours = distances_between(masks, spacing_mm, surface="area")
    expected = [deepmind.compute_robust_hausdorff(theirs, p) for p in PERCENTILES]
    assert [ours.percentile_mm(p) for p in PERCENTILES] == pytest.approx(expected, rel=1e-6)
    assert ours.hausdorff_mm == ours.percentile_mm(100)
    means = deepmind.compute_average_surface_distance(theirs)
    directed = zip((ours.to_prediction_mm, ours.to_reference_mm), ours.weights, strict=True)
    assert [np.average(d, weights=areas) for d, areas in directed] == pytest.approx(means, rel=1e-6)
    areas = [theirs["surfel_areas_gt"].sum(), theirs["surfel_areas_pred"].sum()]
    assert ours.assd_mm == pytest.approx(np.average(means, weights=areas), rel=1e-6)
    expected = [deepmind.compute_surface_dice_at_tolerance(theirs, mm) for mm in TOLERANCES_MM]
    assert [ours.surface_dice(mm) for mm in TOLERANCES_MM] == pytest.approx(expected, rel=1e-6)


def check_monai(masks, spacing_mm):
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    ours = distances_between(masks, spacing_mm, surface="voxels")
    peers_masks, peers_spacing_mm = as_peers_have_it(masks, spacing_mm)
    y, y_pred = (torch.from_numpy(mask)[None, None].float() for mask in peers_masks)
    options = {"include_background": True, "spacing": peers_spacing_mm}
    expected = [compute_hausdorff_distance(y_pred, y, percentile=p, **options).item() for p in PERCENTILES]
    assert ours.hausdorff_mm == pytest.approx(expected[0], rel=1e-6)
    # torch.quantile reckons ranks in float32: the 19,000.05th of 20,000 distances becomes the 19,000.051st.
    assert [ours.percentile_mm(p) for p in PERCENTILES] == pytest.approx(expected, rel=5e-6)
    expected = compute_average_surface_distance(y_pred, y, symmetric=True, **options).item()
    assert ours.assd_mm == pytest.approx(expected, rel=1e-6)
    expected = [compute_surface_dice(y_pred, y, class_thresholds=[mm], **options).item() for mm in TOLERANCES_MM]
    assert [ours.surface_dice(mm) for mm in TOLERANCES_MM] == pytest.approx(expected, rel=1e-6)


def check_medpy(masks, spacing_mm):
    from medpy.metric import binary as medpy

    ours = distances_between(masks, spacing_mm, surface="voxels")
    (reference, prediction), peers_spacing_mm = as_peers_have_it(masks, spacing_mm)
    to_prediction, to_reference = ours.to_prediction_mm, ours.to_reference_mm
    pairs = {"hd": ours.hausdorff_mm, "hd95": np.percentile(np.hstack([to_prediction, to_reference]), 95)}
    pairs |= {"asd": to_reference.mean(), "assd": ours.assd_mm}
    for name, found in pairs.items():
        expected = getattr(medpy, name)(prediction, reference, voxelspacing=peers_spacing_mm)
        assert found == pytest.approx(expected, rel=1e-6), name


def check_simpleitk(masks, spacing_mm):
    import SimpleITK as sitk  # noqa: N813

    ours = distances_between(masks, spacing_mm, surface="voxels")
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    for image in images:
        image.SetSpacing(spacing_mm[::-1])
    between = sitk.HausdorffDistanceImageFilter()
    between.Execute(*images)
    assert ours.hausdorff_mm == pytest.approx(between.GetHausdorffDistance(), rel=1e-6)


@shapes
@spacings
def test_area_weighted_distances_equal_those_of_deepmind(shape, spacing_mm):
    check_deepmind(SHAPES[shape](), spacing_mm)


@shapes
@spacings
def test_voxel_distances_equal_those_of_monai(shape, spacing_mm):
    check_monai(SHAPES[shape](), spacing_mm)


@shapes
def test_surface_dice_by_area_equals_that_of_monai_with_subvoxels(shape):
    import torch
    from monai.metrics import compute_surface_dice

    masks, spacing_mm = SHAPES[shape](), SPACINGS_MM[1]
    ours = distances_between(masks, spacing_mm, surface="area")
    peers_masks, peers_spacing_mm = as_peers_have_it(masks, spacing_mm)
    y, y_pred = (torch.from_numpy(mask)[None, None].float() for mask in peers_masks)
    options = {"include_background": True, "spacing": peers_spacing_mm, "use_subvoxels": True}
    expected = [compute_surface_dice(y_pred, y, class_thresholds=[mm], **options).item() for mm in TOLERANCES_MM]
    assert [ours.surface_dice(mm) for mm in TOLERANCES_MM] == pytest.approx(expected, rel=1e-6)


@shapes
@spacings
def test_voxel_distances_equal_those_of_medpy(shape, spacing_mm):
    check_medpy(SHAPES[shape](), spacing_mm)


@spacings
@pytest.mark.parametrize("shape", ["boxes far apart", "single voxels", "blobs cut apart"])
def test_hausdorff_of_disjoint_shapes_equals_that_of_simpleitk(shape, spacing_mm):
    if shape == "blobs cut apart":  # ITK measures from whole masks; for disjoint ones that is from their surfaces
        masks = np.array(blobs(5, 6))
        masks[0, 13:], masks[1, :17] = False, False
    else:
        masks = SHAPES[shape]()
    check_simpleitk(masks, spacing_mm)


def around(mask):
    """Return a mask cut down to itself and ten voxels around it."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return mask[tuple(slice(max(0, ends.start - 10), ends.stop + 10) for ends in box)]


def real_organs():
    """Yield organs of real volumes with something to compare them with, and their spacing."""
    folder = DATA / "acdc_cine_mr"
    hearts = [read_label(folder / f"patient001_frame{frame}_label.nii.gz") for frame in ("01", "12")]
    for value in (1, 2, 3):  # the same heart in diastole and systole
        yield [heart.data[0] == value for heart in hearts], hearts[0].spacing_mm
    abdomen = read_label(DATA / "totalsegmentator_ct" / "example_seg.nii.gz")
    for number, value in enumerate(np.unique(abdomen.data)[1::8]):
        yield with_errors(around(abdomen.data[0] == value), seed=number), abdomen.spacing_mm
    lungs = read_label(next((DATA / "montgomery_cxr" / "labels").iterdir()))
    yield with_errors(lungs.data[0] > 0, seed=1), (0.7, 0.7, 1.0)


@pytest.mark.skipif(not DATA.is_dir(), reason="real images (../shared/data) are not here")
@pytest.mark.parametrize("check", [check_deepmind, check_monai, check_medpy])
def test_real_organs_are_measured_alike(check):
    organs = list(real_organs())
    assert len(organs) > 6
    for masks, spacing_mm in organs:
        (box,) = ndimage.find_objects((masks[0] | masks[1]).astype(np.uint8))
        check([np.ascontiguousarray(mask[box]) for mask in masks], spacing_mm)
