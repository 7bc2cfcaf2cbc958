from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from medgan.evaluation.surface_elements import element_areas, element_codes

SPACINGS_MM = [(1.0, 1.0, 1.0), (2.0, 1.0, 3.0), (0.7, 0.8, 5.0), (0.5, 2.5, 0.5)]
SHEARED = np.array([[1.0, 0.3, 0.5], [0.0, 2.0, -0.4], [0.0, 0.0, 3.0]])


def areas_of(mask, matrix, **options):
    return element_areas(matrix)[element_codes(mask, **options)]


def test_codes_tell_which_voxels_meet_at_a_corner():
    one = np.zeros((2, 2, 2), bool)
    one[1, 0, 1] = True
    codes = element_codes(one)
    assert codes.shape == (3, 3, 3)
    assert np.argwhere(codes).tolist() == [[i, j, k] for i in (1, 2) for j in (0, 1) for k in (1, 2)]
    assert sorted(codes[codes > 0].tolist()) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert element_codes(np.ones((1, 1, 1), bool)).ravel().tolist() == [1, 2, 4, 8, 16, 32, 64, 128]
    assert (element_codes(np.ones((4, 4, 4), bool)) == 255).sum() == 3**3


@pytest.mark.parametrize("matrix", [*map(np.diag, SPACINGS_MM), SHEARED])
def test_a_flat_face_has_the_area_of_a_voxel_face(matrix):
    for axis in range(3):
        half = np.moveaxis(np.tile([[[False]], [[True]]], (1, 3, 3)), 0, axis)
        face = np.linalg.norm(np.cross(*np.delete(matrix, axis, 1).T))
        assert areas_of(half, matrix)[1, 1, 1] == pytest.approx(face)


@pytest.mark.parametrize("matrix", [*map(np.diag, SPACINGS_MM), SHEARED])
def test_a_single_voxel_is_cut_off_by_eight_triangles(matrix):
    i, j, k = matrix.T / 2
    areas = areas_of(np.ones((1, 1, 1), bool), matrix)
    for a, b, c in product((1, -1), repeat=3):  # the triangle between the middles of three edges
        triangle = np.linalg.norm(np.cross(b * j - a * i, c * k - a * i)) / 2
        corner = tuple(int(sign < 0) for sign in (a, b, c))
        assert areas[corner] == pytest.approx(triangle)


def test_what_is_inside_and_what_outside_makes_no_difference():
    areas = element_areas(np.diag(SPACINGS_MM[1]))
    assert areas[1:255] == pytest.approx(areas[254:0:-1])
    assert areas[0] == areas[255] == 0
    assert (areas[1:255] > 0).all()


def test_areas_add_up_to_those_of_marching_cubes():
    from skimage.measure import marching_cubes, mesh_surface_area

    ball = ndimage.distance_transform_edt(np.pad(np.zeros((1, 1, 1)), 20, constant_values=1), sampling=(1, 1, 2)) < 15
    vertices, faces, *_ = marching_cubes(ball.astype(np.float32), 0.5, spacing=(1, 1, 2), method="lorensen")
    assert areas_of(ball, np.diag([1, 1, 2.0])).sum() == pytest.approx(mesh_surface_area(vertices, faces), rel=1e-6)


def test_an_outline_has_the_length_of_its_sides():
    matrix = np.diag([2.0, 3.0, 1.0])
    lengths = areas_of(np.ones((4, 2, 1), bool), matrix, flat_axes=(2,))
    assert lengths.shape == (5, 3, 1)
    assert lengths[2, 0, 0] == pytest.approx(2)  # along i
    assert lengths[0, 1, 0] == pytest.approx(3)
    assert lengths[0, 0, 0] == pytest.approx(np.hypot(2, 3) / 2)
    assert lengths[2, 1, 0] == 0
    diagonal = areas_of(np.eye(2, dtype=bool)[:, :, None], matrix, flat_axes=(2,))
    assert diagonal[1, 1, 0] == pytest.approx(np.hypot(2, 3))  # two corners cut off


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_areas_of_all_patterns_are_those_of_deepmind(spacing_mm):
    from surface_distance import lookup_tables

    theirs = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm)
    kernel = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    ours = element_areas(np.diag(spacing_mm))
    for code in range(256):
        voxels = np.array([code >> bit & 1 for bit in range(8)], bool).reshape(2, 2, 2)
        assert areas_of(voxels, np.diag(spacing_mm))[1, 1, 1] == pytest.approx(
            theirs[(kernel * voxels).sum()], rel=1e-6
        )
    assert sorted(ours) == pytest.approx(sorted(theirs), rel=1e-6)


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_lengths_of_all_patterns_are_those_of_deepmind(spacing_mm):
    from surface_distance import lookup_tables

    theirs = lookup_tables.create_table_neighbour_code_to_contour_length(spacing_mm[:2])
    for code in range(16):
        pixels = np.array([code >> bit & 1 for bit in range(4)], bool).reshape(2, 2)
        ours = areas_of(pixels[:, :, None], np.diag([*spacing_mm[:2], 1.0]), flat_axes=(2,))[1, 1, 0]
        place = (lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL * pixels).sum()
        assert ours == pytest.approx(theirs[place], rel=1e-6)
