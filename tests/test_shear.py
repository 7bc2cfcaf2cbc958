"""Sheared grids: upright for the network, and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import affines, box_volume

from medgan.preprocessing.prepare import prepare, prepare_classes, restore_classes
from medgan.preprocessing.shear import is_sheared, make_upright, move_classes, upright_grid
from medgan.volume.volume import Volume

TILT = np.radians(12.0)


def tilted_affine() -> np.ndarray:
    """Return the grid of a CT whose slices stand 12 degrees off the table's direction, along which they step."""
    affine = np.eye(4)
    affine[:3, 0] = (1.5, 0, 0)
    affine[:3, 1] = (0, 2 * np.cos(TILT), 2 * np.sin(TILT))
    affine[:3, 2] = (0, 0, 3)
    return affine


def test_half_a_degree_is_no_shear_and_one_is() -> None:
    for degrees, expected in ((0.4, False), (1.0, True)):
        affine = np.eye(4)
        affine[:3, 2] = (0, np.sin(np.radians(degrees)), np.cos(np.radians(degrees)))
        assert is_sheared(affine) is expected


@settings(max_examples=30, deadline=None)
@given(affine=affines())
def test_a_grid_at_right_angles_is_left_as_it_is(affine: np.ndarray) -> None:
    assert upright_grid((5, 6, 7), affine)[1] is affine


def test_slices_of_a_tilted_gantry_keep_their_planes_at_their_true_distance() -> None:
    shape, upright = upright_grid((12, 10, 8), tilted_affine())
    axes = upright[:3, :3]
    np.testing.assert_allclose(axes[:, :2], tilted_affine()[:3, :2], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(axes[:, 2]), 3 * np.cos(TILT))
    np.testing.assert_allclose(axes[:, 1] @ axes[:, 2], 0, atol=1e-12)
    # over 7 steps a slice slips 7 * 3 * sin(12 degrees) = 4.37 mm, 2.18 voxels of 2 mm: 3 more rows hold it
    assert shape == (12, 13, 8)


@settings(max_examples=40, deadline=None)
@given(affine=affines(), shear=st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_the_upright_grid_holds_every_voxel(affine: np.ndarray, shear: tuple[float, float, float]) -> None:
    sheared = affine.copy()
    sheared[:3, :3] = affine[:3, :3] @ np.array([[1, shear[0], shear[1]], [0, 1, shear[2]], [0, 0, 1]])
    shape, upright = upright_grid((4, 5, 6), sheared)
    corners = np.array(np.meshgrid((0, 3), (0, 4), (0, 5), indexing="ij")).reshape(3, -1)
    inside = (np.linalg.inv(upright) @ sheared @ np.vstack([corners, np.ones(8)]))[:3]
    slack = 0.05 if not is_sheared(sheared) else 1e-4
    assert inside.min() > -slack
    assert (inside.max(axis=1) < np.array(shape) - 1 + slack).all()


def test_values_stay_where_they_are_in_the_patient() -> None:
    """A linear ramp over world coordinates is read off at the same world coordinates."""
    affine = tilted_affine()
    indices = np.indices((12, 10, 8)).reshape(3, -1)
    ramp = np.array([1.0, -2.0, 0.5]) @ (affine[:3, :3] @ indices)
    upright = make_upright(Volume(ramp.reshape(1, 12, 10, 8).astype(np.float32), affine))
    middle = upright.affine @ [6, 6, 4, 1]
    assert upright.data[0, 6, 6, 4] == pytest.approx(np.array([1.0, -2.0, 0.5]) @ middle[:3], abs=1e-3)
    assert upright.data.dtype == np.float32


def test_labels_come_back_to_the_sheared_grid() -> None:
    label = box_volume((24, 26, 16), tilted_affine(), labels=True)
    prepared = prepare(label, spacing_mm=(1.0, 1.0, 1.5), intensity="window")
    assert not is_sheared(prepared.affine)
    classes = prepare_classes(label.data[0], prepared)
    scores = np.stack([classes == index for index in range(4)]).astype(np.float32)
    restored = restore_classes(scores, prepared)
    assert restored.shape == label.shape
    for value in (1, 2, 3):
        a, b = restored == value, label.data[0] == value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.95


def test_classes_beyond_the_edge_are_background() -> None:
    classes = np.ones((3, 3, 3), np.uint8)
    shifted = np.eye(4)
    shifted[0, 3] = 2.0
    moved = move_classes(classes, np.eye(4), shape=(3, 3, 3), to_affine=shifted)
    assert moved[:, 0, 0].tolist() == [1, 0, 0]
