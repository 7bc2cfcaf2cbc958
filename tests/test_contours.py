"""Contours and voxels: centres decide, edges in common are shared out, and tracing is undone by filling."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import polygon2mask

from medgan.volume.dicom.contours import box_of, fill, num_crossings, trace

Polygon = Sequence[tuple[float, float]] | np.ndarray


def filled(*polygons: Polygon, shape: tuple[int, int] = (8, 8), planes: Sequence[int] | None = None) -> np.ndarray:
    """Return the (I, J) mask of contours of one plane, or the (I, J, K) mask of several."""
    points = np.concatenate([np.array(polygon, float).reshape(-1, 2) for polygon in polygons])
    sizes = np.array([len(polygon) for polygon in polygons])
    in_planes = np.array([0] * len(polygons) if planes is None else planes)
    mask = np.zeros((*shape, int(in_planes.max()) + 1), bool)
    box = box_of(points, sizes, in_planes, mask.shape)
    mask[box] = fill(points, sizes, in_planes, box=box)
    return mask[:, :, 0] if planes is None else mask


def rectangle(low: tuple[float, float], high: tuple[float, float]) -> Polygon:
    return [low, (high[0], low[1]), high, (low[0], high[1])]


def marked(mask: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(index) for index in np.argwhere(mask).tolist()}


def test_voxels_whose_centres_are_inside_are_marked():
    mask = filled(rectangle((1.5, 2.9), (3.5, 5.1)))
    assert marked(mask) == {(i, j) for i in (2, 3) for j in (3, 4, 5)}


def test_slanted_edge_decides_by_the_centre():
    assert marked(filled([(0.0, -0.5), (4.0, -0.5), (0.0, 3.5)])) == {
        (i, j) for i in range(8) for j in range(8) if i + j < 3.5
    }


def test_edge_through_centres_belongs_to_the_side_of_growing_indices():
    assert marked(filled(rectangle((1, 1), (3, 3)))) == {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_contours_with_an_edge_in_common_neither_overlap_nor_leave_a_gap():
    rng = np.random.default_rng(0)
    for _ in range(50):
        ridge = np.c_[rng.uniform(1, 9, 12), np.linspace(-1, 11, 12)]  # from below the grid to above it
        left = filled([(-2, 11), (-2, -1), *ridge], shape=(10, 10))
        right = filled([*ridge, (12, 11), (12, -1)], shape=(10, 10))
        assert (left ^ right).all()


def test_contour_within_another_is_a_hole():
    mask = filled(rectangle((0.5, 0.5), (6.5, 6.5)), rectangle((2.5, 2.5), (4.5, 4.5)))
    assert mask.sum() == 36 - 4
    assert not mask[3:5, 3:5].any()


def test_keyhole_is_a_hole():
    outer, hole = rectangle((0.5, 0.5), (6.5, 6.5)), rectangle((2.5, 2.5), (4.5, 4.5))
    with_keyhole = [*outer, outer[0], *hole, hole[0]]  # slanted, and on the way through the centres (1, 1) and (2, 2)
    np.testing.assert_array_equal(filled(with_keyhole), filled(outer, hole))


def test_planes_are_filled_apart():
    box = rectangle((0.5, 0.5), (2.5, 2.5))
    mask = filled(box, box, planes=[0, 2], shape=(4, 4))
    assert mask.sum(axis=(0, 1)).tolist() == [4, 0, 4]


def test_contour_beyond_the_grid_is_clipped():
    np.testing.assert_array_equal(
        filled(rectangle((-1000.5, 2.5), (3.5, 5000.5))), filled(rectangle((-1, 2.5), (3.5, 9)))
    )


@pytest.mark.parametrize(
    "polygon", [[(2, 2)], [(1, 1), (6, 6)], rectangle((9, 9), (12, 12)), rectangle((2, 2), (2, 6))]
)
def test_contour_that_encloses_no_centre_marks_nothing(polygon):
    assert not filled(polygon).any()


def test_filling_agrees_with_scikit_image_away_from_edges():
    rng = np.random.default_rng(1)
    for _ in range(20):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 30))
        star = 30 + rng.uniform(5, 28, 30)[:, None] * np.c_[np.cos(angle), np.sin(angle)]
        np.testing.assert_array_equal(filled(star, shape=(60, 60)), polygon2mask((60, 60), star))


def test_crossings_are_counted_within_the_grid():
    assert num_crossings(np.array([(0.0, -100.0), (0.0, 100.0), (0.0, 5.0)]), num_j=10) == 15


def filled_trace(mask: np.ndarray) -> np.ndarray:
    outlines = list(trace(mask))
    return filled(*outlines, shape=mask.shape) if outlines else np.zeros(mask.shape, bool)


@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
@settings(max_examples=300, deadline=None)
def test_filling_undoes_tracing(mask):
    np.testing.assert_array_equal(filled_trace(mask), mask)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=100, deadline=None)
def test_traced_contours_do_not_overlap_so_their_union_is_the_mask_too(mask):
    each = [filled(outline, shape=mask.shape).astype(int) for outline in trace(mask)]
    np.testing.assert_array_equal(sum(each, np.zeros(mask.shape, int)), mask)


def test_traced_contours_keep_off_centres():
    mask = np.random.default_rng(2).random((20, 20)) < 0.6
    centres = np.stack(np.meshgrid(range(20), range(20), indexing="ij"), axis=-1).reshape(-1, 1, 2)
    for outline in trace(mask):
        start, step = outline, np.roll(outline, -1, axis=0) - outline
        along = np.clip(((centres - start) * step).sum(axis=-1) / (step**2).sum(axis=-1), 0, 1)
        assert np.linalg.norm(centres - start - along[..., None] * step, axis=-1).min() > 0.35


def test_ring_in_a_ring_has_two_contours():
    mask = np.zeros((11, 11), bool)
    mask[1:10, 1:10], mask[2:9, 2:9], mask[4:7, 4:7], mask[5, 5] = True, False, True, False
    outlines = list(trace(mask))
    assert len(outlines) == 2
    np.testing.assert_array_equal(filled_trace(mask), mask)


def test_straight_runs_have_no_vertices():
    assert len(next(trace(np.ones((50, 50), bool)))) == 8


def test_empty_mask_has_no_contour():
    assert list(trace(np.zeros((5, 5), bool))) == []
