"""Geometry as arithmetic on affines."""

import numpy as np
import pytest
from hypothesis import assume, given
from phantoms import affines, oblique_affine

from medgan.errors import MedganError
from medgan.volume.affine import (
    affine_from_parts,
    check_affine,
    lps_to_ras,
    nearest_axes,
    orientation_of,
    spacing_of,
)


def test_lps_and_ras_differ_in_the_sign_of_x_and_y():
    affine = affine_from_parts((10.0, 20.0, 30.0), np.eye(3), (1.0, 2.0, 3.0))
    expected = [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(lps_to_ras(affine), expected)


@given(affines())
def test_lps_to_ras_undoes_itself(affine):
    np.testing.assert_array_equal(lps_to_ras(lps_to_ras(affine)), affine)


def test_spacing_and_orientation_of_an_oblique_affine():
    assert spacing_of(oblique_affine()) == pytest.approx((1.5, 2.0, 3.0))
    assert orientation_of(oblique_affine()) == "RAS"
    assert orientation_of(oblique_affine(left_handed=True)) == "RAI"


def test_nearest_axes_of_a_permuted_grid():
    psr = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # i to P, j to S, k to R
    assert orientation_of(psr) == "PSR"
    assert nearest_axes(psr) == ((2, 0, 1), (False, True, False))


@given(affines())
def test_nearest_axes_lay_the_grid_along_ras(affine):
    cosines = np.sort(np.abs(affine[:3, :3] / spacing_of(affine)))
    assume((cosines[:, 2] - cosines[:, 1] > 1e-6).all())  # halfway between two axes either is nearest
    order, flips = nearest_axes(affine)
    signs = np.where(flips, -1.0, 1.0)
    laid_out = affine.copy()
    laid_out[:3, :3] = affine[:3, list(order)] * signs
    assert sorted(order) == [0, 1, 2]
    assert orientation_of(laid_out) == "RAS"


def placed(x, y, z):
    affine = np.eye(4)
    affine[:3, 3] = x, y, z
    return affine


def test_an_affine_at_the_limits_is_taken():
    check_affine(placed(1e5, -1e5, 0) @ np.diag([1e4, -1e4, 1.0, 1.0]))


def test_hostile_numbers_become_no_warning():
    parts = affine_from_parts((np.inf, 0, 0), np.full((3, 3), 1e300), (1e300, 0, np.nan))
    assert not np.isfinite(lps_to_ras(parts)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (np.diag([1.0, np.nan, 1.0, 1.0]), "finite"),
        (np.eye(3), r"finite \(4, 4\)"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "span space"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
        (np.diag([1.0, 1.0001e4, 1.0, 1.0]), r"at most 10000 mm long .* size of \(1, 1e\+04, 1\) mm"),
        (np.diag([1e300, 1.0, 1.0, 1.0]), r"size of \(inf, 1, 1\) mm .*no scanner has this"),
        (placed(0, 0, -100_001), r"within 100000 mm of 0.* first voxel at \(0, 0, -1e\+05\) mm"),
        (placed(1e308, 0, 0), "no scanner has this"),
    ],
)
def test_an_affine_that_places_no_voxels_is_refused(change, message):
    with pytest.raises(MedganError, match=message):
        check_affine(change)
