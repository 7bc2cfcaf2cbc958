import numpy as np
import pytest
from scipy.spatial import cKDTree

from medgan.evaluation.nearest_in_planes import distances_in_planes_mm, planes_us

SHAPE, LENGTHS_MM = (41, 37, 33), np.array([2.0, 0.7, 3.0])


def in_box(seed, *, number, low=(0, 0, 0), high=SHAPE):
    """Return random places (3, n) of the grid, from `low` up to `high`."""
    return np.random.default_rng(seed).integers(low, high, (number, 3)).T


def by_tree(points, targets, lengths_mm):
    return cKDTree(targets.T * lengths_mm).query(points.T * lengths_mm)[0]


BOXES = {
    "over all": {},
    "at one end": {"high": (5, 6, 7)},
    "at the other end": {"low": (30, 31, 29)},
    "one plane": {"low": (20, 0, 0), "high": (21, 37, 33)},
    "one row": {"low": (20, 7, 0), "high": (21, 8, 33)},
}


@pytest.mark.parametrize("lengths_mm", [LENGTHS_MM, LENGTHS_MM[::-1], np.array([0.1, 5.0, 0.3])])
@pytest.mark.parametrize("target_box", BOXES)
@pytest.mark.parametrize("point_box", BOXES)
@pytest.mark.parametrize(("num_points", "num_targets"), [(1, 1), (400, 3), (300, 2000)])
def test_distances_are_those_to_the_nearest_target(point_box, target_box, num_points, num_targets, lengths_mm):
    points = in_box(1, number=num_points, **BOXES[point_box])
    targets = in_box(2, number=num_targets, **BOXES[target_box])
    found = distances_in_planes_mm(points, targets, shape=SHAPE, lengths_mm=lengths_mm)
    assert found == pytest.approx(by_tree(points, targets, lengths_mm), rel=1e-12)


def test_grid_longer_than_a_byte_counts_is_measured():
    points, targets = np.array([[0, 0, 0], [0, 1, 699]]).T, np.array([[0, 1, 699]]).T
    found = distances_in_planes_mm(points, targets, shape=(1, 2, 700), lengths_mm=np.array([1.0, 1.0, 0.5]))
    assert found == pytest.approx([np.hypot(1, 699 / 2), 0])


def test_more_room_between_is_no_more_work_than_more_points():
    points, targets = in_box(1, number=50, high=(5, 5, 5)), in_box(2, number=50, low=(30, 30, 30))
    assert planes_us(points, targets, SHAPE) < planes_us(in_box(1, number=50), in_box(2, number=50), SHAPE)
