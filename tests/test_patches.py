"""Where patches are cut and what they hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgan.preprocessing.patches import choose_centre, cut, warp

LENGTHS = st.tuples(*[st.integers(1, 20)] * 3)


def numbered(*shape: int) -> np.ndarray:
    """Return an image (1, *shape) in which every voxel has its own number, from 1."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(1, *shape)


def straight_offsets(size: tuple[int, int, int]) -> np.ndarray:
    """Return the offsets of a patch that is not turned."""
    axes = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in size], indexing="ij")
    return np.stack(axes, axis=-1).astype(np.float32)


def random_centre(shape: tuple[int, int, int], size: tuple[int, int, int], seed: int) -> np.ndarray:
    return choose_centre(shape, size, {}, np.random.default_rng(seed), foreground_fraction=0.5)


@settings(max_examples=80, deadline=None)
@given(shape=LENGTHS, size=LENGTHS, seed=st.integers(0, 99))
def test_patch_is_inside_where_it_fits_and_centred_where_not(
    shape: tuple[int, int, int], size: tuple[int, int, int], seed: int
) -> None:
    centre = random_centre(shape, size, seed)
    for middle, n, length in zip(centre, shape, size, strict=True):
        first, last = middle - (length - 1) / 2, middle + (length - 1) / 2
        assert first == int(first)  # on whole voxels
        if length <= n:
            assert 0 <= first <= last <= n - 1
        else:
            assert -first in ((length - n) // 2, last - (n - 1))
            assert abs(-first - (last - (n - 1))) <= 1


def test_every_place_is_reached() -> None:
    firsts = {tuple(random_centre((6, 5, 4), (4, 4, 4), seed) - 1.5) for seed in range(200)}
    assert firsts == {(float(i), float(j), 0.0) for i in range(3) for j in range(2)}


def test_smaller_volume_is_centred_and_filled() -> None:
    centre = random_centre((2, 3, 4), (4, 3, 6), 0)
    patch = cut(numbered(2, 3, 4), centre, (4, 3, 6), fill=-1.0)
    assert patch.shape == (1, 4, 3, 6)
    np.testing.assert_array_equal(patch[:, 1:3, :, 1:5], numbered(2, 3, 4))
    assert (patch == -1.0).sum() == 4 * 3 * 6 - 24


def test_always_foreground_centres_on_an_organ_each_equally_often() -> None:
    voxels = {1: np.array([[10, 11, 12]]), 3: np.argwhere(np.ones((20, 1, 1))) + np.array([5, 9, 9])}
    rng = np.random.default_rng(0)
    size = (5, 4, 3)
    near_first = 0
    for _ in range(400):
        centre = choose_centre((30, 30, 30), size, voxels, rng, foreground_fraction=1.0)
        distances = np.abs(np.concatenate(list(voxels.values())) - centre).max(axis=1)
        assert distances.min() <= 0.5  # half a voxel where the patch length is even
        near_first += bool(np.abs(centre - (10, 11, 12)).max() <= 0.5)
    assert 160 <= near_first <= 240


def test_organ_at_the_border_stays_in_the_patch() -> None:
    voxels = {1: np.array([[0, 29, 29]])}
    centre = choose_centre((30, 30, 30), (8, 8, 8), voxels, np.random.default_rng(0), foreground_fraction=1.0)
    assert centre.tolist() == [3.5, 25.5, 25.5]


def test_no_organ_means_anywhere() -> None:
    centres = {tuple(random_centre((9, 9, 9), (3, 3, 3), seed)) for seed in range(20)}
    assert len(centres) > 15


def test_cut_holds_the_voxels_about_its_centre() -> None:
    image = numbered(7, 6, 5)
    patch = cut(image, np.array([3.0, 2.5, 2.0]), (3, 4, 1), fill=0)
    np.testing.assert_array_equal(patch, image[:, 2:5, 1:5, 2:3])


def test_cut_outside_the_volume_is_filled() -> None:
    image = numbered(3, 3, 3)
    corner = cut(image, np.array([0.0, 2.0, 1.0]), (3, 3, 3), fill=-5)
    assert (corner[0, 0] == -5).all()
    assert (corner[0, :, 2] == -5).all()
    np.testing.assert_array_equal(corner[:, 1:, :2], image[:, :2, 1:])
    for far in (-40.0, 40.0):
        assert (cut(image, np.array([far, 1.0, 1.0]), (3, 3, 3), fill=-5) == -5).all()


def test_cut_leaves_the_volume_as_it_was() -> None:
    image = numbered(3, 3, 3)
    cut(image, np.ones(3), (3, 3, 3), fill=0)[:] = -1
    np.testing.assert_array_equal(image, numbered(3, 3, 3))


@settings(max_examples=30, deadline=None)
@given(shape=LENGTHS, size=LENGTHS, seed=st.integers(0, 99))
def test_warp_that_moves_nothing_is_the_plain_cut(
    shape: tuple[int, int, int], size: tuple[int, int, int], seed: int
) -> None:
    image = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    classes = np.random.default_rng(seed).integers(0, 4, size=shape).astype(np.uint8)
    centre = random_centre(shape, size, seed)
    moved, labels = warp(image, classes, centre, straight_offsets(size), fill=-3.0)
    np.testing.assert_allclose(moved, cut(image, centre, size, fill=-3.0), atol=1e-4)
    np.testing.assert_array_equal(labels, cut(classes[None], centre, size, fill=0)[0])
    assert labels.dtype == np.uint8


def test_warp_takes_image_and_classes_from_the_same_place() -> None:
    classes = np.random.default_rng(0).integers(0, 300, size=(9, 8, 7)).astype(np.uint16)
    offsets = straight_offsets((3, 3, 3))[::-1].swapaxes(1, 2) + np.array([1, -2, 0], np.float32)
    moved, labels = warp(classes[None].astype(np.float32), classes, np.array([4.0, 4.0, 3.0]), offsets, fill=0)
    np.testing.assert_allclose(moved[0], labels, atol=1e-2)
    np.testing.assert_array_equal(labels, classes[4:7, 1:4, 2:5][::-1].swapaxes(1, 2))


def test_warp_interpolates_the_image_and_picks_the_nearest_class() -> None:
    image, classes = numbered(9, 1, 1), np.arange(9, dtype=np.uint8).reshape(9, 1, 1)
    offsets = straight_offsets((3, 1, 1)) + np.array([0.25, 0, 0], np.float32)
    moved, labels = warp(image, classes, np.array([4.0, 0.0, 0.0]), offsets, fill=0)
    np.testing.assert_allclose(moved.ravel(), [4.25, 5.25, 6.25], atol=1e-5)
    assert labels.ravel().tolist() == [3, 4, 5]


@pytest.mark.parametrize("distance", [3.0, 50.0])
def test_warp_beyond_the_volume_is_filled(distance: float) -> None:
    offsets = straight_offsets((2, 2, 2)) + np.array([distance, 0, 0], np.float32)
    moved, labels = warp(numbered(4, 4, 4), np.ones((4, 4, 4), np.uint8), np.full(3, 1.5), offsets, fill=-7.0)
    assert (moved == -7.0).all()
    assert not labels.any()
