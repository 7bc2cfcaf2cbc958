import numpy as np
import pytest
from scipy import ndimage

from medgan.evaluation.component_count import count_components


def plane(*rows):
    """Return a mask of one slice, one row of I per text; # is inside."""
    return np.array([[voxel == "#" for voxel in row] for row in rows])[:, :, None]


def blobs(seed, *, shape=(30, 24, 20), threshold=0.1):
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 1) > threshold


def test_voxels_that_share_a_face_are_one_piece():
    assert count_components(plane("##..", ".#..", ".##.")) == 1


def test_voxels_that_share_an_edge_or_a_corner_are_two_pieces():
    assert count_components(plane("#.", ".#")) == 2
    corner = np.zeros((2, 2, 2), bool)
    corner[0, 0, 0] = corner[1, 1, 1] = True
    assert count_components(corner) == 2


def test_the_end_of_a_row_does_not_touch_the_start_of_the_next():
    assert count_components(plane("..#", "#..")) == 2
    assert count_components(plane("..#", "#..").transpose(2, 0, 1)) == 2
    slices = np.zeros((2, 3, 3), bool)
    slices[0, 2, 2] = slices[1, 0, 0] = True
    assert count_components(slices) == 2


def test_a_ring_is_one_piece_and_nothing_is_none():
    assert count_components(plane("###", "#.#", "###")) == 1
    assert count_components(np.zeros((3, 4, 5), bool)) == 0
    assert count_components(np.ones((3, 4, 5), bool)) == 1


@pytest.mark.parametrize("shape", [(30, 24, 20), (40, 40, 1), (1, 40, 40), (40, 1, 40), (60, 1, 1)])
@pytest.mark.parametrize("threshold", [-0.1, 0.1, 0.2])
def test_counts_equal_those_of_scipy(shape, threshold):
    mask = blobs(1, shape=shape, threshold=threshold)
    assert count_components(mask) == ndimage.label(mask)[1] > 0


def test_counts_equal_those_of_simpleitk():
    import SimpleITK as sitk  # noqa: N813

    mask = blobs(2)
    picture = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), False)
    assert count_components(mask) == sitk.GetArrayFromImage(picture).max() > 1


def test_memory_order_changes_nothing():
    mask = blobs(3)
    assert count_components(np.asfortranarray(mask)) == count_components(mask) == ndimage.label(mask)[1]
