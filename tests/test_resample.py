"""Resampling along axes and onto other grids, against hand arithmetic."""

import numpy as np
import pytest
from phantoms import SHARED, box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.preprocessing.resample import (
    interpolation_matrix,
    resample_axes,
    resample_classes,
    resample_label_to,
)
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import Volume

PULMONARY = SHARED / "data" / "totalsegmentator_ct" / "pulmonary_report" / "models"


def spheres(size: int) -> np.ndarray:
    """Return classes 0, 1 (a ball) and 2 (a smaller ball inside it)."""
    axes = np.meshgrid(*[np.arange(size) - centre for centre in (0.47 * size, 0.52 * size, 0.44 * size)], indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in axes))
    classes: np.ndarray = (distance < 0.4 * size).astype(np.uint8) + (distance < 0.2 * size)
    return classes


@pytest.mark.parametrize(("size_in", "size_out"), [(1, 1), (1, 7), (9, 1), (5, 13), (13, 5), (10, 10)])
@pytest.mark.parametrize("step", [0.3, 1.0, 1.7, 6.0])
def test_rows_sum_to_one_and_are_never_negative(size_in: int, size_out: int, step: float) -> None:
    matrix = interpolation_matrix(size_in, size_out, step)
    assert matrix.shape == (size_out, size_in)
    assert matrix.dtype == np.float32
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-6)


def test_equal_grid_is_the_identity() -> None:
    np.testing.assert_array_equal(interpolation_matrix(7, 7, 1.0), np.eye(7))


def test_finer_grid_reproduces_a_ramp() -> None:
    np.testing.assert_allclose(interpolation_matrix(10, 19, 0.5) @ np.arange(10), np.arange(19) / 2, atol=1e-6)


def test_coarser_grid_reproduces_a_ramp() -> None:
    np.testing.assert_allclose(interpolation_matrix(12, 4, 3.0) @ np.arange(12), [1.0, 4.0, 7.0, 10.0], atol=1e-6)


def test_grids_share_their_centre() -> None:
    ramp = np.arange(9) - 4.0
    for size_out, step in ((4, 1.5), (5, 1.5), (20, 0.4), (3, 3.0)):
        assert (interpolation_matrix(9, size_out, step) @ ramp).mean() == pytest.approx(0.0, abs=1e-6)


def test_coarser_grid_averages_what_lies_under_its_voxels() -> None:
    # output voxels cover 0.5 to 2 and 2 to 3.5 on the scale where input voxel n covers n to n + 1
    expected = np.array([[0.5, 1, 0, 0], [0, 0, 1, 0.5]]) / 1.5
    np.testing.assert_allclose(interpolation_matrix(4, 2, 1.5), expected, atol=1e-6)


def test_coarser_grid_averages_noise_instead_of_skipping_voxels() -> None:
    alternating = np.tile([1.0, -1.0], 32)
    assert np.abs(interpolation_matrix(64, 16, 4.0) @ alternating).max() < 1e-6


def test_positions_outside_take_the_edge() -> None:
    np.testing.assert_array_equal(interpolation_matrix(2, 4, 1.0), [[1, 0], [1, 0], [0, 1], [0, 1]])


def test_each_axis_is_multiplied_by_its_own_matrix() -> None:
    data = np.random.default_rng(0).integers(-1000, 400, size=(2, 6, 5, 9)).astype(np.int16)
    first, third = interpolation_matrix(6, 11, 6 / 11), interpolation_matrix(9, 3, 3.0)
    expected = np.einsum("ai,ck,nijk->najc", first, third, data)
    np.testing.assert_allclose(resample_axes(data, (first, None, third)), expected, atol=1e-3)


def test_classes_without_matrices_stay() -> None:
    classes = spheres(9)
    np.testing.assert_array_equal(resample_classes(classes, (None, None, None)), classes)


@pytest.mark.parametrize("factor", [0.4, 0.77, 1.3, 1.5, 2.0])
def test_classes_keep_their_volumes(factor: float) -> None:
    classes = spheres(40)
    matrix = interpolation_matrix(40, round(40 / factor), factor)
    resampled = resample_classes(classes, (matrix, matrix, matrix))
    assert resampled.dtype == np.uint8
    for index in (1, 2):
        assert (resampled == index).sum() * factor**3 == pytest.approx((classes == index).sum(), rel=0.04)


def test_organ_does_not_lose_its_ties_to_the_background() -> None:
    # halved about odd borders, every border voxel is half organ: one end is kept and one is not, so 6 voxels become 3
    classes = np.array([0, 0, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0], dtype=np.uint8).reshape(12, 1, 1)
    halved = resample_classes(classes, (interpolation_matrix(12, 6, 2.0), None, None))
    assert halved.ravel().tolist() == [0, 0, 2, 2, 2, 0] or halved.ravel().tolist() == [0, 2, 2, 2, 0, 0]


def test_class_that_covers_most_wins() -> None:
    classes = np.array([3, 3, 3, 0, 7, 7]).reshape(6, 1, 1)
    matrix = np.array([[0.4, 0.2, 0, 0.4, 0, 0], [0, 0, 0.2, 0.3, 0.25, 0.25]], dtype=np.float32)
    assert resample_classes(classes, (matrix, None, None)).ravel().tolist() == [3, 7]


def test_no_class_is_invented_between_two() -> None:
    classes = np.array([1, 1, 5, 5], dtype=np.uint16).reshape(4, 1, 1)
    resampled = resample_classes(classes, (interpolation_matrix(4, 9, 4 / 9), None, None))
    assert resampled.dtype == np.uint16
    assert resampled.ravel().tolist() in ([1, 1, 1, 1, 1, 5, 5, 5, 5], [1, 1, 1, 1, 5, 5, 5, 5, 5])


def test_label_on_the_same_grid_takes_the_affine_of_the_image() -> None:
    label = box_volume(labels=True)
    nearly = label.affine.copy()
    nearly[0, 3] += 0.01
    moved = resample_label_to(label, Volume(np.zeros((1, *label.shape)), nearly), where="a")
    np.testing.assert_array_equal(moved.data, label.data)
    np.testing.assert_array_equal(moved.affine, nearly)


@pytest.mark.parametrize("shift", [(-2.0, -3.0, -1.0), (-2.4, -2.6, -1.3), (-2.0 - 1e-12, -3.0 + 1e-12, -1.0)])
def test_label_of_a_smaller_field_keeps_every_voxel(shift: tuple[float, float, float]) -> None:
    affine = oblique_affine(left_handed=True)
    label = Volume(np.random.default_rng(1).integers(1, 4, size=(1, 4, 5, 3)).astype(np.uint8), affine)
    larger = affine.copy()
    larger[:3, 3] += affine[:3, :3] @ shift  # the first label voxel is image voxel -shift
    moved = resample_label_to(label, Volume(np.zeros((1, 9, 11, 6), np.float32), larger), where="a")
    expected = np.zeros((9, 11, 6), np.uint8)
    expected[2:6, 3:8, 1:4] = label.data[0]
    np.testing.assert_array_equal(moved.data[0], expected)
    assert moved.data.dtype == np.uint8


def test_label_of_another_orientation_lands_on_the_same_place() -> None:
    label = box_volume(affine=oblique_affine(), labels=True)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = label.shape[0] - 1
    turned = Volume(label.data[:, ::-1].transpose(0, 3, 1, 2), (label.affine @ flip)[:, [2, 0, 1, 3]])
    np.testing.assert_array_equal(resample_label_to(turned, label, where="a").data, label.data)


def test_label_far_from_its_image_is_refused_with_both_grids() -> None:
    label = box_volume(labels=True)
    far = label.affine.copy()
    far[2, 3] = 500.0
    image = Volume(np.zeros((1, 6, 6, 6), np.float32), far)
    with pytest.raises(MedganError, match=r"case_3: no labelled voxel.* 12x10x8 .* 6x6x6 .*\(0\.0, 0\.0, 500\.0\)"):
        resample_label_to(label, image, where="case_3")


def test_empty_label_far_from_its_image_stays_empty() -> None:
    empty = Volume(np.zeros((1, 3, 3, 3), np.uint8), np.eye(4))
    far = np.eye(4)
    far[0, 3] = 99.0
    assert not resample_label_to(empty, Volume(np.zeros((1, 4, 4, 4)), far), where="a").data.any()


@pytest.mark.skipif(not PULMONARY.is_dir(), reason="shared CT data not present")
def test_all_heart_voxels_of_a_real_cropped_label_survive() -> None:
    heart, image = read_label(PULMONARY / "heart.nii.gz"), read_volume(PULMONARY / "ct_cropped.nii.gz")
    assert heart.shape != image.shape
    moved = resample_label_to(heart, image, where="pulmonary_report")
    assert moved.shape == image.shape
    assert np.count_nonzero(heart.data) == np.count_nonzero(moved.data) == 198_176
    np.testing.assert_allclose(centroid_mm(moved), centroid_mm(heart), atol=0.01)


def centroid_mm(volume: Volume) -> np.ndarray:
    centre: np.ndarray = volume.affine @ [*np.argwhere(volume.data[0]).mean(axis=0), 1.0]
    return centre[:3]
