"""Augmentation: what is drawn, and what it does to a patch."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from medgan.config import AugmentationConfig
from medgan.labels import LabelMap
from medgan.preprocessing.augment import Augmentation, apply_intensity, draw_augmentation, mirror, warp_grid
from medgan.preprocessing.patches import warp

NAMES = ("affine", "elastic", "intensity", "gamma", "noise", "blur", "low_resolution")
ALL: dict[str, Any] = {f"{name}_probability": 1.0 for name in NAMES}
NONE: dict[str, Any] = {f"{name}_probability": 0.0 for name in NAMES} | {"mirror": False}


def draw(seed: int = 0, *, is_planar: bool = False, **settings: Any) -> Augmentation:
    return draw_augmentation(AugmentationConfig(**settings), np.random.default_rng(seed), is_planar=is_planar)


def quarter_turn() -> np.ndarray:
    """Return a rotation by 90 degrees about k: (x, y, z) to (-y, x, z)."""
    return np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def moved_patch(
    augmentation: Augmentation, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a volume of random classes, and the image and class patches taken from its middle."""
    classes = np.random.default_rng(5).integers(0, 9, size=(21, 21, 21)).astype(np.uint8)
    offsets = warp_grid(augmentation, size, spacing_mm)
    assert offsets is not None
    image, labels = warp(classes[None].astype(np.float32), classes, np.full(3, 10.0), offsets, fill=0)
    return classes, image[0], labels


def test_nothing_drawn_is_the_identity() -> None:
    augmentation = draw(**NONE)
    assert augmentation == Augmentation()
    assert warp_grid(augmentation, (4, 4, 4), (1.0, 1.0, 1.0)) is None
    image = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(apply_intensity(image, augmentation), image)


def test_drawing_is_reproducible_and_differs_by_seed() -> None:
    first, again, other = draw(3, **ALL), draw(3, **ALL), draw(4, **ALL)
    for field in dataclasses.fields(Augmentation):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert first.matrix is not None
    assert other.matrix is not None
    assert not np.array_equal(first.matrix, other.matrix)
    assert first.gamma != other.gamma


def test_everything_drawn_lies_in_its_range() -> None:
    mirrored = 0
    for seed in range(200):
        drawn = draw(seed, **ALL, rotation_degrees=10.0, scale=0.2, shear=0.0)
        assert drawn.matrix is not None
        scale = np.cbrt(np.linalg.det(drawn.matrix))
        assert 1 / 1.2 <= scale <= 1.2
        rotation = drawn.matrix / scale
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.degrees(np.arccos((np.trace(rotation) - 1) / 2)) <= 3 * 10.0
        assert 0.75 <= drawn.contrast <= 1.25
        assert np.exp(-0.4) <= drawn.gamma <= np.exp(0.4)
        assert drawn.noise is not None
        assert 0 <= drawn.noise[0] <= 0.15
        assert 0.5 <= drawn.blur_voxels <= 1.0
        assert 1.2 <= drawn.coarseness <= 2.0
        mirrored += drawn.mirrored
    assert 70 <= mirrored <= 130


def test_probability_is_how_often() -> None:
    drawn = [draw(seed, affine_probability=0.3, noise_probability=0.3) for seed in range(400)]
    assert 90 <= sum(d.matrix is not None for d in drawn) <= 150
    assert 90 <= sum(d.noise is not None for d in drawn) <= 150


def test_quarter_turn_moves_voxels_where_arithmetic_says() -> None:
    classes, image, labels = moved_patch(Augmentation(matrix=quarter_turn()), (5, 5, 3), (1.0, 1.0, 1.0))
    expected = np.empty((5, 5, 3))
    for i in range(5):
        for j in range(5):
            expected[i, j] = classes[10 - (j - 2), 10 + (i - 2), 9:12]
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(image, expected, atol=1e-4)


def test_rotation_is_in_millimetres_where_voxels_are_not_cubes() -> None:
    # spacing (1, 2, 4): one voxel along j is 2 mm, which a quarter turn lays along i as two voxels
    classes, image, labels = moved_patch(Augmentation(matrix=quarter_turn()), (5, 3, 1), (1.0, 2.0, 4.0))
    for i, j in ((0, 0), (0, 1), (2, 0), (2, 2), (4, 2)):  # even i: whole voxels along j
        expected = classes[10 - 2 * (j - 1), 10 + (i - 2) // 2, 10]
        assert labels[i, j, 0] == expected
        assert image[i, j, 0] == pytest.approx(expected, abs=1e-4)


def test_displacement_is_in_millimetres() -> None:
    shift = np.zeros((3, 5, 5, 5), np.float32)
    shift[0], shift[1], shift[2] = 3.0, -4.0, 8.0
    classes, image, labels = moved_patch(Augmentation(displacement_mm=shift), (4, 5, 3), (1.0, 2.0, 4.0))
    # the patch voxels of an even length lie half a voxel off the centre, so the image is interpolated along i
    lower, upper = (classes[first : first + 4, 6:11, 11:14].astype(float) for first in (11, 12))
    np.testing.assert_allclose(image, (lower + upper) / 2, atol=1e-3)
    assert np.logical_or(labels == lower, labels == upper).all()


def test_scale_above_one_shows_more_of_the_volume() -> None:
    classes, _, labels = moved_patch(Augmentation(matrix=2 * np.eye(3)), (5, 5, 5), (1.0, 1.0, 3.0))
    np.testing.assert_array_equal(labels, classes[6:15:2, 6:15:2, 6:15:2])


def test_matrix_and_displacement_are_one_resampling() -> None:
    shift = np.full((3, 5, 5, 5), 2.0, np.float32)
    both = warp_grid(Augmentation(matrix=quarter_turn(), displacement_mm=shift), (3, 3, 3), (1.0, 1.0, 1.0))
    turned = warp_grid(Augmentation(matrix=quarter_turn()), (3, 3, 3), (1.0, 1.0, 1.0))
    assert both is not None
    assert turned is not None
    np.testing.assert_allclose(both, turned + 2.0, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 4, 5])
def test_planar_augmentation_never_mixes_slices(depth: int) -> None:
    # slices numbered 1 to 9 stay what they were, whatever is drawn
    image = np.tile(np.arange(1.0, 10.0, dtype=np.float32), (1, 80, 80, 1))
    classes = image[0].astype(np.uint8)
    settings = ALL | {"intensity_probability": 0.0, "gamma_probability": 0.0, "noise_probability": 0.0}
    for seed in range(10):
        drawn = draw(seed, is_planar=True, **settings)
        offsets = warp_grid(drawn, (8, 8, depth), (1.0, 1.0, 8.0))
        assert offsets is not None
        np.testing.assert_allclose(offsets[..., 2], np.broadcast_to(np.arange(depth) - (depth - 1) / 2, (8, 8, depth)))
        centre = np.array([39.5, 39.5, 2 + (depth - 1) / 2])
        patch, labels = warp(image, classes, centre, offsets, fill=0)
        np.testing.assert_allclose(apply_intensity(patch, drawn)[0], labels, atol=1e-3)
        np.testing.assert_array_equal(labels, np.broadcast_to(np.arange(3, 3 + depth), (8, 8, depth)))


def test_planar_augmentation_still_turns_within_the_slice() -> None:
    angles = []
    for seed in range(50):
        matrix = draw(seed, is_planar=True, affine_probability=1.0, scale=0.0, shear=0.0).matrix
        assert matrix is not None
        np.testing.assert_array_equal(matrix[2], (0, 0, 1))
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    assert max(np.abs(angles)) <= 15.0
    assert np.std(angles) > 5.0


def test_volumetric_augmentation_turns_about_every_axis() -> None:
    matrices = [draw(seed, affine_probability=1.0, shear=0.0).matrix for seed in range(20)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.std([matrix[a, b] for matrix in matrices if matrix is not None]) > 0.05


def test_mirror_swaps_left_and_right_in_image_and_labels() -> None:
    labels = LabelMap.from_mapping({"left_lung": 1, "right_lung": 2, "heart": 3})
    image = np.array([10.0, 20.0, 30.0, 40.0], np.float32).reshape(1, 4, 1, 1)
    classes = np.array([2, 2, 3, 1], np.uint8).reshape(4, 1, 1)
    mirrored, swapped = mirror(image, classes, labels.mirrored_classes)
    assert mirrored.ravel().tolist() == [40.0, 30.0, 20.0, 10.0]
    assert swapped.ravel().tolist() == [2, 3, 1, 1]
    assert swapped.dtype == np.uint8
    again = mirror(mirrored, swapped, labels.mirrored_classes)
    np.testing.assert_array_equal(again[0], image)
    np.testing.assert_array_equal(again[1], classes)


def test_mirror_turns_left_and_right_only() -> None:
    image = np.arange(24.0, dtype=np.float32).reshape(1, 4, 3, 2)
    mirrored, _ = mirror(image, np.zeros((4, 3, 2), np.uint8), (0,))
    np.testing.assert_array_equal(mirrored, image[:, ::-1])


def test_brightness_contrast_and_gamma_are_by_hand() -> None:
    image = np.array([-1.0, 0.0, 1.0], np.float32).reshape(1, 3, 1, 1)
    linear = apply_intensity(image, Augmentation(brightness=0.1, contrast=1.2))
    np.testing.assert_allclose(linear.ravel(), [-1.1, 0.1, 1.3], atol=1e-6)
    curved = apply_intensity(image, Augmentation(gamma=2.0))  # 0, 1/2, 1 to the power of 2, back on -1..1
    np.testing.assert_allclose(curved.ravel(), [-1.0, -0.5, 1.0], atol=1e-6)


def test_noise_has_its_deviation_and_seed() -> None:
    image = np.zeros((1, 30, 30, 30), np.float32)
    noisy = apply_intensity(image, Augmentation(noise=(0.1, 7)))
    assert noisy.std() == pytest.approx(0.1, rel=0.02)
    np.testing.assert_array_equal(noisy, apply_intensity(image, Augmentation(noise=(0.1, 7))))
    assert not np.array_equal(noisy, apply_intensity(image, Augmentation(noise=(0.1, 8))))


@pytest.mark.parametrize("change", [{"blur_voxels": 0.8}, {"coarseness": 2.0}])
def test_blur_and_coarser_grid_average_within_the_image(change: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).normal(size=(1, 12, 12, 12)).astype(np.float32)
    smooth = apply_intensity(noise, Augmentation(**change))
    assert smooth.shape == noise.shape
    assert np.abs(np.diff(smooth, axis=3)).mean() < 0.6 * np.abs(np.diff(noise, axis=3)).mean()
    planar = apply_intensity(noise, Augmentation(**change, is_planar=True))
    np.testing.assert_allclose(planar[..., :5], apply_intensity(noise[..., :5], Augmentation(**change, is_planar=True)))


@pytest.mark.parametrize("shape", [(1, 6, 5, 4), (2, 5, 5, 1)])
def test_constant_patch_stays_constant_and_finite(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 0.3, np.float32)
    changed = apply_intensity(image, Augmentation(gamma=0.7, blur_voxels=1.0, coarseness=1.7))
    assert changed.dtype == np.float32
    np.testing.assert_allclose(changed, image, atol=1e-6)


def test_the_patch_it_is_given_stays_as_it_was() -> None:
    image = np.linspace(-1, 1, 60, dtype=np.float32).reshape(1, 5, 4, 3)
    before = image.copy()
    apply_intensity(image, draw(**ALL))
    np.testing.assert_array_equal(image, before)
