"""Size and place of each label value."""

import numpy as np
import pytest

from medgan.inspection.regions import regions_of
from medgan.volume.volume import Volume


@pytest.mark.parametrize(("first", "second"), [(1, 7), (3, 2**32 - 1)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_regions_by_hand(first: int, second: int, order: str) -> None:
    label = np.zeros((4, 5, 6), np.uint32, order=order)  # type: ignore[call-overload]
    label[0, 1:3, 2] = first
    label[3, 4, 5] = second
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    affine[0, 3] = -10.0
    a, b = regions_of(Volume(label[None], affine))
    assert (a.value, a.num_voxels, a.volume_ml, a.centre_mm) == (first, 2, pytest.approx(0.012), (-10.0, 1.5, 6.0))
    assert (b.value, b.num_voxels, b.volume_ml, b.centre_mm) == (second, 1, pytest.approx(0.006), (-4.0, 4.0, 15.0))


def test_label_without_background_has_its_values_alone() -> None:
    for value in (5, 2**20):
        (region,) = regions_of(Volume(np.full((1, 2, 2, 2), value, np.uint32), np.eye(4)))
        assert (region.value, region.num_voxels) == (value, 8)


def test_empty_label_has_no_regions() -> None:
    assert regions_of(Volume(np.zeros((1, 2, 2, 2), np.uint8), np.eye(4))) == ()
