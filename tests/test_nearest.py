import numpy as np
import pytest
from phantoms import oblique_affine
from scipy.spatial import cKDTree

from medgan.evaluation import nearest
from medgan.evaluation.nearest import nearest_distances_mm

MATRICES = {
    "straight": np.diag([2.0, 1.0, 3.0]),
    "fine rows along k": np.diag([1.0, 1.0, 0.3]),
    "oblique": oblique_affine()[:3, :3],
    "left-handed": oblique_affine(left_handed=True)[:3, :3],
    "tilted gantry": np.array([[1, 0, 0], [0, 1, 0.4], [0, 0, 2.0]]),
    "sheared": np.array([[1, 0.2, 0.5], [0, 1, -0.3], [0, 0, 2.0]]),
}


def by_hand(sources, targets, *, shape, matrix):
    positions = [np.stack(np.unravel_index(places, shape), 1) @ matrix.T for places in (sources, targets)]
    return cKDTree(positions[1]).query(positions[0])[0]


def some_places(seed, shape, number):
    return np.sort(np.random.default_rng(seed).choice(np.prod(shape), min(number, np.prod(shape)), replace=False))


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("shape", [(23, 19, 29), (300, 3, 2), (1, 31, 30), (40, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("num_targets", [1, 40, 2000])
def test_distances_are_those_to_the_nearest_target(name, shape, num_targets):
    places = {"sources": some_places(1, shape, 500), "targets": some_places(2, shape, num_targets)}
    grid = {"shape": shape, "matrix": MATRICES[name]}
    assert nearest_distances_mm(**places, **grid) == pytest.approx(by_hand(**places, **grid), rel=1e-9)


@pytest.mark.parametrize("name", MATRICES)
def test_far_targets_are_found_alike_by_every_way(name, monkeypatch):
    shape, matrix = (60, 50, 40), MATRICES[name]
    slabs = np.arange(np.prod(shape)).reshape(shape)
    places = {"sources": slabs[:4].ravel(), "targets": slabs[50:53, :20, :25].ravel()}
    expected = by_hand(**places, shape=shape, matrix=matrix)
    taken = []
    for way in ("distances_in_planes_mm", "cKDTree"):
        monkeypatch.setattr(nearest, way, counting(getattr(nearest, way), taken))
    for way, looks, wants_planes in (("cKDTree", 1, False), ("distances_in_planes_mm", 1, True), (None, 100, False)):
        if wants_planes and name in ("tilted gantry", "sheared"):
            continue
        monkeypatch.setattr(nearest, "_WIDEST_LOOK", looks)
        monkeypatch.setattr(nearest, "_LOOK_US", 0.0015 / looks**2)
        monkeypatch.setattr(nearest, "_wants_planes", lambda *_, answer=wants_planes: answer)
        found = nearest_distances_mm(**places, shape=shape, matrix=matrix)
        assert found == pytest.approx(expected, rel=1e-9)
        if name != "sheared":  # then there is no row to look along
            assert taken == [way][: way is not None]
        taken.clear()


def counting(function, calls):
    def counted(*arguments, **options):
        calls.append(function.__name__)
        return function(*arguments, **options)

    return counted


def test_many_far_points_go_through_the_planes_together(monkeypatch):
    shape, calls = (100, 60, 60), []
    monkeypatch.setattr(nearest, "distances_in_planes_mm", counting(nearest.distances_in_planes_mm, calls))
    sources = np.arange(np.prod(shape) // 3)
    last = np.array([np.prod(shape) - 1])
    found = nearest_distances_mm(sources, last, shape=shape, matrix=np.eye(3))
    assert found == pytest.approx(by_hand(sources, last, shape=shape, matrix=np.eye(3)))
    assert len(calls) == 1


def test_points_that_are_targets_are_at_distance_zero_by_every_way(monkeypatch):
    shape, block = (
        (30, 40, 40),
        np.arange(20_000),
    )  # more than are looked at together, some targets surrounded by others
    beyond = np.append(block, np.prod(shape) - 1)
    for wants_planes in (True, False):
        monkeypatch.setattr(nearest, "_wants_planes", lambda *_, answer=wants_planes: answer)
        found = nearest_distances_mm(beyond, block, shape=shape, matrix=np.eye(3))
        assert not found[:-1].any()
        assert found[-1] == 18


def test_without_targets_everything_is_infinitely_far():
    nothing, one = np.empty(0, int), np.array([3])
    assert np.isinf(nearest_distances_mm(one, nothing, shape=(2, 2, 2), matrix=np.eye(3))).all()
    assert nearest_distances_mm(nothing, one, shape=(2, 2, 2), matrix=np.eye(3)).size == 0


def test_rows_longer_than_a_byte_counts_are_measured():
    shape = (700, 2, 2)
    found = nearest_distances_mm(np.array([0]), np.array([4 * 699]), shape=shape, matrix=np.eye(3))
    assert found.tolist() == [699.0]
