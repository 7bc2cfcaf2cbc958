"""Grids in numbers and in words."""

import numpy as np
import pytest
from phantoms import oblique_affine

from medgan.inspection.geometry import grid_of, oddities_of
from medgan.volume.affine import lps_to_ras


def test_grid_of_an_upright_scan() -> None:
    affine = np.diag([0.5, 0.75, 3.0, 1.0])
    affine[:3, 3] = (10.0, -20.0, 30.5)
    grid = grid_of((512, 400, 99), lps_to_ras(affine))
    assert grid.size_voxels == (512, 400, 99)
    assert grid.spacing_mm == (0.5, 0.75, 3.0)
    assert grid.extent_mm == (256.0, 300.0, 297.0)
    assert grid.origin_mm == (-10.0, 20.0, 30.5)
    assert grid.orientation == "LPS"
    assert grid.ways == ("right to left", "front to back", "feet to head")
    assert (grid.oblique_degrees, grid.shear_degrees) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("column", "way"),
    [
        ((1, 0, 0), "left to right"),
        ((-1, 0, 0), "right to left"),
        ((0, 1, 0), "back to front"),
        ((0, -1, 0), "front to back"),
        ((0, 0, 1), "feet to head"),
        ((0, 0, -1), "head to feet"),
    ],
)
def test_words_for_every_direction(column: tuple[int, int, int], way: str) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.stack([column, np.roll(column, 1), np.roll(column, 2)], axis=1)
    assert grid_of((2, 2, 2), affine).ways[0] == way


def test_oblique_scan_has_the_angle_it_was_turned_by() -> None:
    turn = np.deg2rad(12.0)
    affine = np.eye(4)
    affine[:3, :3] = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    grid = grid_of((4, 4, 4), affine)
    assert grid.oblique_degrees == pytest.approx(12.0)
    assert grid.shear_degrees == 0.0
    both = np.degrees(np.arccos(np.cos(np.deg2rad(20.0)) * np.cos(np.deg2rad(10.0))))
    assert grid_of((4, 4, 4), oblique_affine(left_handed=True)).oblique_degrees == pytest.approx(both)


def test_tilted_gantry_is_sheared_and_not_oblique() -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 2.0 * np.tan(np.deg2rad(15.0))
    grid = grid_of((4, 4, 4), affine)
    assert grid.shear_degrees == pytest.approx(15.0)
    assert grid.oblique_degrees == 0.0


@pytest.mark.parametrize(
    ("spacing", "size", "words"),
    [
        ((1, 1, 4), (4, 4, 4), []),
        ((1, 1, 6), (4, 4, 4), ["It is anisotropic: the largest spacing is 6.0 times the smallest."]),
        ((1, 1, 6), (4, 4, 1), ["It is a single slice (K = 1)."]),
    ],
)
def test_odd_grids_are_told(spacing: tuple[int, ...], size: tuple[int, ...], words: list[str]) -> None:
    assert oddities_of(grid_of(size, np.diag([*spacing, 1.0]))) == words
