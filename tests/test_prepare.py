"""Preparing volumes and going back: place, values and the source grid."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import affines, box_volume, oblique_affine

from medgan.config import PreprocessingConfig
from medgan.errors import MedganError
from medgan.preprocessing.prepare import (
    Prepared,
    prepare,
    prepare_classes,
    prepare_for,
    require_same_grid,
    restore_classes,
)
from medgan.volume.volume import Volume

SHAPES = st.tuples(st.integers(5, 20), st.integers(5, 20), st.one_of(st.just(1), st.integers(5, 20)))


def one_hot(classes: np.ndarray, num_classes: int = 4) -> np.ndarray:
    return np.stack([classes == index for index in range(num_classes)]).astype(np.float32)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def there_and_back(label: Volume, spacing_mm: tuple[float, float, float] | None) -> np.ndarray:
    prepared = prepare(label, spacing_mm=spacing_mm, intensity="window")
    return restore_classes(one_hot(prepare_classes(label.data[0], prepared)), prepared)


def relaid(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """Return the same volume stored with its axes in another order and direction."""
    data, affine = volume.data, volume.affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            data = np.flip(data, axis + 1)
            affine[:3, 3] += affine[:3, axis] * (volume.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(data.transpose(0, *(axis + 1 for axis in order)), affine[:, [*order, 3]])


def world_coordinates(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Return the position of each voxel in mm, (3, I, J, K)."""
    indices = np.indices(shape).reshape(3, -1)
    positions: np.ndarray = affine[:3, :3] @ indices + affine[:3, 3:]
    return positions.reshape(3, *shape)


@settings(max_examples=60, deadline=None)
@given(affine=affines(), shape=SHAPES)
def test_own_spacing_comes_back_exactly(affine: np.ndarray, shape: tuple[int, int, int]) -> None:
    label = box_volume(shape, affine, labels=True)
    np.testing.assert_array_equal(there_and_back(label, None), label.data[0])


@settings(max_examples=60, deadline=None)
@given(affine=affines(), shape=SHAPES, finer=st.tuples(*[st.floats(0.4, 1.0)] * 3))
def test_finer_spacing_comes_back_to_the_source_grid(
    affine: np.ndarray, shape: tuple[int, int, int], finer: tuple[float, float, float]
) -> None:
    label = box_volume(shape, affine, labels=True)
    i, j, k = np.array(finer) * min(label.spacing_mm)
    if np.prod(np.array(shape) * label.spacing_mm / (i, j, k)) > 3e5:
        i, j, k = np.array((i, j, k)) * 8  # keeps the largest draws quick; the grid must come back all the same
        assert there_and_back(label, (i, j, k)).shape == shape
        return
    restored = there_and_back(label, (i, j, k))
    assert restored.shape == shape
    assert dice(restored > 0, label.data[0] > 0) > 0.97
    assert (restored == label.data[0]).mean() > 0.97


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.0, 2.5, 4.0), (1.5, 1.5, 9.0)])
@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_each_organ_comes_back_in_its_place(
    spacing_mm: tuple[float, float, float], left_handed: bool, order: tuple[int, ...]
) -> None:
    label = box_volume((30, 26, 24), oblique_affine(left_handed=left_handed), labels=True)
    label = relaid(label, order, (True, False, left_handed))
    restored = there_and_back(label, spacing_mm)
    assert restored.shape == label.shape
    assert restored.dtype == np.uint8
    lowest = 0.99 if max(spacing_mm) < 2 else 0.85
    for organ in (1, 2, 3):
        assert dice(restored == organ, label.data[0] == organ) > lowest


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_single_slice_comes_back(axis: int) -> None:
    shape = [24, 20, 18]
    shape[axis] = 1
    label = Volume(np.zeros((1, *shape), np.uint8), oblique_affine())
    i, j, k = (slice(n // 4, n) for n in shape)
    label.data[0, i, j, k] = 1
    i, j, k = (slice(0, n // 2 + 1) for n in shape)
    label.data[0, i, j, k] = 2
    np.testing.assert_array_equal(there_and_back(label, (1.0, 1.0, 1.0)), label.data[0])


@settings(max_examples=60, deadline=None)
@given(affine=affines(), shape=SHAPES, factor=st.tuples(*[st.floats(0.5, 1.0) | st.sampled_from([2.0, 3.0])] * 3))
def test_every_voxel_keeps_its_place_in_the_patient(
    affine: np.ndarray, shape: tuple[int, int, int], factor: tuple[float, float, float]
) -> None:
    # an image of world coordinates, resampled linearly, still tells each voxel where it is
    volume = Volume(world_coordinates(shape, affine).astype(np.float32), affine)
    i, j, k = np.array(prepare(volume, spacing_mm=None, intensity="window").spacing_mm) * factor
    prepared = prepare(volume, spacing_mm=(i, j, k), intensity="window", window=(-2000.0, 2000.0))
    np.testing.assert_allclose(prepared.spacing_mm, (i, j, k), rtol=1e-9)
    expected = world_coordinates(prepared.image.shape[1:], prepared.affine)
    source = np.linalg.inv(affine) @ np.concatenate([expected.reshape(3, -1), np.ones((1, expected[0].size))])
    margin = max(factor) / 2
    last = np.array(shape)[:, None] - 1
    inside = ((source[:3] > margin) & (last - margin > source[:3])).all(axis=0)
    found = 2000.0 * prepared.image.reshape(3, -1)
    np.testing.assert_allclose(found[:, inside], expected.reshape(3, -1)[:, inside], atol=0.01)


def test_marked_voxel_keeps_its_place() -> None:
    data = np.zeros((1, 15, 13, 11), np.float32)
    data[0, 3, 9, 2] = 1.0
    volume = Volume(data, oblique_affine(left_handed=True))
    marked_mm = (volume.affine @ [3, 9, 2, 1])[:3]
    for spacing_mm in (None, (0.5, 0.5, 0.5), (1.5, 2.0, 1.0)):
        prepared = prepare(volume, spacing_mm=spacing_mm, intensity="window", window=(0.0, 1.0))
        weights = (prepared.image[0] + 1) / 2
        positions = world_coordinates(weights.shape, prepared.affine)
        centre = (positions * weights).sum(axis=(1, 2, 3)) / weights.sum()
        np.testing.assert_allclose(centre, marked_mm, atol=0.1)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_orientation_of_storage_does_not_matter(order: tuple[int, ...]) -> None:
    volume = box_volume(affine=oblique_affine())
    label = box_volume(affine=oblique_affine(), labels=True)
    expected = prepare(volume, spacing_mm=(1.0, 1.5, 2.0), intensity="zscore")
    expected_classes = prepare_classes(label.data[0], expected)
    for flips in product((False, True), repeat=3):
        stored = relaid(volume, order, flips)
        prepared = prepare(stored, spacing_mm=(1.0, 1.5, 2.0), intensity="zscore")
        np.testing.assert_allclose(prepared.image, expected.image, atol=1e-4)
        np.testing.assert_allclose(prepared.affine, expected.affine, atol=1e-9)
        assert prepared.source_shape == stored.shape
        assert prepared.image.dtype == np.float32
        classes = prepare_classes(relaid(label, order, flips).data[0], prepared)
        assert (classes == expected_classes).mean() > 0.98  # evenly covered voxels go to either side


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_without_its_affine_shows(axis: int) -> None:
    volume = box_volume((12, 12, 12), np.eye(4))
    right = prepare(volume, spacing_mm=None, intensity="window").image
    flipped = Volume(np.flip(volume.data, axis + 1), volume.affine)
    wrong = prepare(flipped, spacing_mm=None, intensity="window").image
    assert np.abs(right - wrong).mean() > 0.2
    np.testing.assert_array_equal(wrong, np.flip(right, axis + 1))


def test_axes_are_laid_along_right_front_and_head() -> None:
    volume = box_volume((6, 5, 4), np.diag([-1.0, -1.0, 1.0, 1.0]))  # LPS, as DICOM stores it
    prepared = prepare(volume, spacing_mm=None, intensity="window", window=(-1000.0, 1000.0))
    np.testing.assert_allclose(1000 * prepared.image, volume.data[:, ::-1, ::-1], atol=1e-3)
    np.testing.assert_allclose(prepared.affine[:3, :3], np.eye(3))
    np.testing.assert_allclose(prepared.affine[:3, 3], (-5.0, -4.0, 0.0))


def test_shape_follows_the_extent() -> None:
    volume = box_volume((12, 10, 8), np.diag([1.5, 2.0, 3.0, 1.0]))  # 18 x 20 x 24 mm
    prepared = prepare(volume, spacing_mm=(2.0, 2.0, 1.0), intensity="window")
    assert prepared.image.shape == (1, 9, 10, 24)
    assert prepared.spacing_mm == pytest.approx((2.0, 2.0, 1.0))


def test_channels_are_prepared_alike() -> None:
    volume = box_volume()
    both = prepare(Volume(np.concatenate([volume.data, volume.data + 7]), volume.affine), spacing_mm=(2.0, 2.0, 2.0),
                   intensity="zscore")  # fmt: skip
    np.testing.assert_allclose(both.image[0], both.image[1], atol=1e-5)
    assert both.image[0].std() == pytest.approx(1.0, abs=1e-5)


def test_scores_are_interpolated_before_the_class_is_chosen() -> None:
    volume = Volume(np.zeros((1, 8, 1, 1), np.float32), np.eye(4))
    prepared = prepare(volume, spacing_mm=(2.0, 1.0, 1.0), intensity="window")
    # at 2 mm the organ scores 0, 0, 0.8, 1; source voxel 4 lies at 0.75 of the way from 0 to 0.8: 0.6 is organ
    organ = np.array([0.0, 0.0, 0.8, 1.0], np.float32).reshape(4, 1, 1)
    restored = restore_classes(np.stack([1 - organ, organ]), prepared)
    assert restored.ravel().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    weaker = np.array([0.0, 0.0, 0.6, 1.0], np.float32).reshape(4, 1, 1)  # 0.45 there, 0.7 at voxel 5
    assert restore_classes(np.stack([1 - weaker, weaker]), prepared).ravel().tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


def test_more_than_256_classes_come_back_as_uint16() -> None:
    prepared = prepare(Volume(np.zeros((1, 2, 1, 1)), np.eye(4)), spacing_mm=None, intensity="window")
    restored = restore_classes(one_hot(np.array([299, 4]).reshape(2, 1, 1), 300), prepared)
    assert restored.dtype == np.uint16
    assert restored.ravel().tolist() == [299, 4]


def test_scores_on_another_grid_are_refused() -> None:
    prepared = prepare(box_volume(), spacing_mm=None, intensity="window")
    with pytest.raises(ValueError, match=r"\(2, 3, 3, 3\) do not lie on the prepared grid \(12, 10, 8\)"):
        restore_classes(np.zeros((2, 3, 3, 3), np.float32), prepared)


def test_absurd_spacing_is_refused() -> None:
    with pytest.raises(MedganError, match=r"resampling to \(0\.001, 0\.001, 0\.001\) mm would give .* coarser"):
        prepare(box_volume(), spacing_mm=(0.001, 0.001, 0.001), intensity="window")


def test_the_section_says_how_to_prepare() -> None:
    volume = box_volume()
    config = PreprocessingConfig(spacing_mm=(3.0, 2.0, 3.0), intensity="window", window=(0.0, 100.0))
    expected = prepare(volume, spacing_mm=(3.0, 2.0, 3.0), intensity="window", window=(0.0, 100.0))
    found: Prepared = prepare_for(volume, config)
    np.testing.assert_array_equal(found.image, expected.image)
    standardised = prepare_for(volume, config.model_copy(update={"intensity": "zscore"}))
    assert standardised.image.mean() == pytest.approx(0.0, abs=1e-5)


def test_label_on_another_grid_is_refused_with_both_grids() -> None:
    image, label = box_volume(), box_volume((12, 10, 9), oblique_affine(), labels=True)
    with pytest.raises(MedganError) as caught:
        require_same_grid(image, label, where="case liver_07")
    assert str(caught.value) == (
        f"case liver_07: label and image must be on one grid, found label {label.describe_grid()} and image "
        f"{image.describe_grid()}. Correct the label, or set label_grid to resample in the manifest."
    )
    require_same_grid(image, box_volume(labels=True), where="case liver_07")
