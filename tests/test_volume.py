"""Volumes and when two of them share a grid."""

import numpy as np
import pytest
from phantoms import box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.volume.volume import Volume, describe_difference, same_grid, stack_channels


def test_everything_about_geometry_is_computed_from_the_affine():
    volume = box_volume((12, 10, 8), oblique_affine())
    assert volume.shape == (12, 10, 8)
    assert volume.num_channels == 1
    assert volume.spacing_mm == pytest.approx((1.5, 2.0, 3.0))
    assert volume.voxel_ml == pytest.approx(0.009)
    assert volume.orientation == "RAS"
    assert volume.describe_grid() == "12x10x8 voxels of (1.5, 2, 3) mm, RAS, first voxel at (-31.0, 17.5, -240.2) mm"


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 4, 5, 0)])
def test_data_must_have_four_non_empty_axes(shape):
    with pytest.raises(MedganError, match=r"axes \(C, I, J, K\)"):
        Volume(np.zeros(shape), np.eye(4))


def test_the_affine_is_a_copy_that_cannot_be_changed():
    affine = np.eye(4)
    volume = Volume(np.zeros((1, 2, 2, 2)), affine)
    affine[0, 0] = 9
    assert volume.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 9


def test_a_spacing_error_that_adds_up_to_a_millimetre_is_another_grid():
    a = box_volume((200, 4, 4), np.eye(4))
    assert same_grid(a, Volume(a.data, np.diag([1.0001, 1, 1, 1])))  # 0.02 mm at the far corner
    assert not same_grid(a, Volume(a.data, np.diag([1.005, 1, 1, 1])))  # 1 mm


def test_another_size_or_direction_is_another_grid():
    a = box_volume((4, 4, 4), np.eye(4))
    assert not same_grid(a, box_volume((4, 4, 5), np.eye(4)))
    assert not same_grid(a, box_volume((4, 4, 4), np.diag([-1.0, 1, 1, 1])))


def test_what_two_grids_differ_in_is_named_with_all_digits_it_takes():
    a = box_volume((40, 40, 40), np.diag([1.0, 1, 2, 1]))

    def difference(affine: np.ndarray, shape: tuple[int, int, int] = (40, 40, 40)) -> str:
        return describe_difference(a, box_volume(shape, affine))

    moved, turned = np.diag([1.0, 1, 2, 1]), np.diag([1.0, 1, 2, 1])
    moved[:3, 3] = 0.03, 0, 0.04
    angle = np.deg2rad(0.25)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert difference(np.diag([1.0, 1, 2, 1])) == ""
    assert difference(np.diag([1.0, 1, 2, 1]), (40, 40, 39)) == "size (40x40x40 and 40x40x39 voxels)"
    assert difference(np.diag([1.002, 1, 2, 1])) == "spacing ((1, 1, 2) and (1.002, 1, 2) mm)"
    assert difference(moved) == "the position of the first voxel (by 0.05 mm)"
    assert difference(turned) == "direction (axes up to 0.25 degrees apart)"
    flipped = np.diag([-1.0, 1, 2, 1])
    flipped[0, 3] = 39
    assert difference(flipped) == (
        "direction (axes up to 180 degrees apart) and the position of the first voxel (by 39 mm)"
    )


def test_channels_are_stacked_in_order():
    a = box_volume((4, 5, 6))
    b = Volume(a.data + 1, a.affine)
    stacked = stack_channels([a, b], where="case")
    assert stacked.num_channels == 2
    np.testing.assert_array_equal(stacked.data[1] - stacked.data[0], 1)


def test_channels_on_two_grids_are_refused_with_both_named():
    a, b = box_volume((4, 5, 6)), box_volume((4, 5, 7))
    with pytest.raises(MedganError, match=r"case_7: channels 1 and 2 .* 4x5x6 voxels .* 4x5x7 voxels"):
        stack_channels([a, b], where="case_7")
