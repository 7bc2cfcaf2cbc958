"""Depth, strides and kernels from patch size and spacing."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgan.config import GeneratorConfig
from medgan.errors import MedganError
from medgan.networks.plan import Triple, check_patch_size, plan_generator

SPACING = st.sampled_from([0.5, 0.8, 1.0, 1.5, 3.0, 8.0])


def plan(
    size: Triple, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0), **settings: object
) -> tuple[tuple[Triple, ...], tuple[Triple, ...]]:
    config = plan_generator(GeneratorConfig(**settings), size, spacing_mm)  # type: ignore[arg-type]
    assert config.strides is not None
    assert config.kernels is not None
    return config.strides, config.kernels


def test_isotropic_patch_is_halved_along_every_axis_down_to_four_voxels() -> None:
    strides, kernels = plan((64, 64, 64))
    assert strides == ((2, 2, 2),) * 4
    assert kernels == ((3, 3, 3),) * 5


def test_large_patch_has_five_levels_below_the_first() -> None:
    assert plan((256, 256, 256))[0] == ((2, 2, 2),) * 5


def test_thick_slices_are_joined_once_the_voxels_are_as_large() -> None:
    # 1.5, 3, 6 mm in the plane against 8 mm: at 6 mm the slices may be joined, and keep 4 voxels after that
    strides, kernels = plan((160, 160, 8), (1.5, 1.5, 8.0))
    assert strides == ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 1), (2, 2, 1))
    assert kernels == ((3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))


def test_axis_that_can_shrink_no_more_leaves_the_others_their_kernels() -> None:
    strides, kernels = plan((8, 128, 128))
    assert strides == ((2, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2))
    assert kernels == ((3, 3, 3),) * 6


def test_halved_axis_is_convolved_along() -> None:
    # j is coarser than i all the way, and is halved once i, at its smallest, is halved no more
    strides, kernels = plan((8, 64, 64), (1.0, 8.0, 8.0))
    assert strides == ((2, 1, 1), *((1, 2, 2),) * 4)
    assert kernels == ((3, 1, 1), (3, 1, 1), *((3, 3, 3),) * 4)


@pytest.mark.parametrize("slices", [1, 8, 64])
def test_two_dimensions_leave_the_slices_alone(slices: int) -> None:
    strides, kernels = plan((64, 64, slices), (1.5, 1.5, 1.5), spatial_dims=2)
    assert strides == ((2, 2, 1),) * 4
    assert kernels == ((3, 3, 1),) * 5


def test_thin_slices_do_not_hold_a_two_dimensional_plan_back() -> None:
    assert plan((32, 32, 64), (2.0, 2.0, 0.5), spatial_dims=2)[0] == ((2, 2, 1),) * 3


def test_plan_of_its_own_is_kept() -> None:
    strides, kernels = ((2, 2, 1), (2, 2, 2)), ((3, 3, 1), (3, 3, 3), (3, 3, 3))
    assert plan((16, 16, 16), strides=strides, kernels=kernels) == (strides, kernels)


def test_own_strides_get_kernels() -> None:
    assert plan((16, 16, 16), strides=((2, 2, 2),))[1] == ((3, 3, 3), (3, 3, 3))


def test_the_rest_of_the_config_stays() -> None:
    config = GeneratorConfig(channels=8, residual=True)
    planned = plan_generator(config, (32, 32, 32), (1.0, 1.0, 1.0))
    assert planned.model_copy(update={"strides": None, "kernels": None}) == config


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((96, 96, 100), "patch size (96, 96, 100) must be divisible by 16 on axis k; axis k has 100. Use 96 or 112."),
        ((90, 96, 96), "patch size (90, 96, 96) must be divisible by 16 on axis i; axis i has 90. Use 80 or 96."),
        ((64, 9, 64), "patch size (64, 9, 64) must be divisible by 2 on axis j; axis j has 9. Use 8 or 10."),
    ],
)
def test_patch_that_does_not_fit_is_refused_with_the_nearest_that_do(size: Triple, message: str) -> None:
    with pytest.raises(MedganError, match=f"^{re.escape(message)}$"):
        plan(size)


def test_patch_smaller_than_its_strides_is_told_the_smallest() -> None:
    with pytest.raises(MedganError, match=r"divisible by 4 on axis k; axis k has 3\. Use 4\.$"):
        check_patch_size((8, 8, 3), ((2, 2, 2), (2, 2, 2)))


@settings(max_examples=80, deadline=None)
@given(size=st.tuples(*[st.integers(8, 200)] * 3), spacing_mm=st.tuples(SPACING, SPACING, SPACING))
def test_following_the_advice_leads_to_a_patch_that_fits(size: Triple, spacing_mm: tuple[float, float, float]) -> None:
    for _ in range(10):
        try:
            strides, kernels = plan(size, spacing_mm)
            break
        except MedganError as error:
            found = re.search(r"axis (.) has .*Use (?:\d+ or )?(\d+)\.$", str(error))
            assert found is not None
            axis = "ijk".index(found[1])
            assert size[axis] < int(found[2])
            size = (*size[:axis], int(found[2]), *size[axis + 1 :])  # type: ignore[assignment]
    deepest = np.array(size) / np.prod(strides, axis=0)
    assert (deepest == deepest.round()).all()
    assert deepest.min() >= 4
    assert (np.diff(kernels, axis=0) >= 0).all()  # once an axis is convolved along, it stays so
    assert (np.array(kernels)[1:][np.array(strides) == 2] == 3).all()


@pytest.mark.parametrize("size", [(7, 7, 7), (4, 6, 1)])
def test_tiny_patch_is_refused(size: Triple) -> None:
    with pytest.raises(MedganError, match="too small: at least one axis must have 8 voxels"):
        plan(size, spatial_dims=2)


def test_image_of_one_slice_is_refused_in_three_dimensions() -> None:
    with pytest.raises(MedganError, match=r"patch size \(64, 64, 1\) is a 2D image.*use spatial_dims 2"):
        plan((64, 64, 1))


def test_wrong_number_of_kernels_is_refused() -> None:
    with pytest.raises(MedganError, match="one entry per level, 2 for 1 strides, found 1"):
        plan((8, 8, 8), strides=((2, 2, 2),), kernels=((3, 3, 3),))


def test_strides_across_slices_are_refused_in_two_dimensions() -> None:
    with pytest.raises(MedganError, match=r"must be 1 along k where spatial_dims is 2, found \(\(2, 2, 2\),\)"):
        plan((16, 16, 1), strides=((2, 2, 2),), spatial_dims=2)


def test_strides_down_to_under_four_voxels_are_refused() -> None:
    with pytest.raises(MedganError, match=r"at least 4 voxels of patch size \(8, 8, 8\) on each axis"):
        plan((8, 8, 8), strides=((2, 2, 2),) * 3)
    assert plan((32, 32, 32), strides=((2, 2, 2),) * 3)[0] == ((2, 2, 2),) * 3
    with pytest.raises(MedganError, match=r"leave \(1, 1, 16\)"):
        plan((8, 8, 16), strides=((2, 2, 1),) * 3, spatial_dims=2)
