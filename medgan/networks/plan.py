"""Depth, strides and kernels of the networks, planned from patch size and spacing."""

import numpy as np

from medgan.config import GeneratorConfig
from medgan.errors import MedganError

_SMALLEST = 4  # voxels an axis keeps at the deepest level; below, torch's bf16 gradients on a CPU can be wrong (2.13)
_DEEPEST = 5  # levels after the first
_COARSE = 2.0  # an axis this many times coarser than the finest one is not yet halved, nor convolved along

Triple = tuple[int, int, int]


def plan_generator(config: GeneratorConfig, size: Triple, spacing_mm: tuple[float, float, float]) -> GeneratorConfig:
    """Return `config` with `strides` and `kernels` filled in, and checked against the patch size.

    Each level halves every axis that keeps at least 4 voxels and whose spacing is not over twice the finest one, so
    thick slices are joined only once the voxels in the plane have grown as large; after nnU-Net (Isensee et al.,
    Nature Methods 2021). With `spatial_dims` 2, K is never halved.

    Args:
        config: the generator, with or without strides and kernels of its own.
        size: patch size (I, J, K) in voxels.
        spacing_mm: spacing of the prepared volumes.

    Raises:
        MedganError: if the patch does not divide by the strides, naming the nearest sizes that do; if strides or
            kernels of the config's own do not fit.
    """
    if config.spatial_dims == 3 and size[2] == 1:
        raise MedganError(
            f"patch size {size} is a 2D image, which generator.spatial_dims 3 cannot segment; use spatial_dims 2."
        )
    strides = config.strides or _plan_strides(size, spacing_mm, config.spatial_dims)
    _check_own_strides(strides, size, config.spatial_dims)
    check_patch_size(size, strides)
    kernels = config.kernels or _plan_kernels(strides, spacing_mm, config.spatial_dims)
    if len(kernels) != len(strides) + 1:
        raise MedganError(
            f"generator.kernels must have one entry per level, {len(strides) + 1} for {len(strides)} strides, "
            f"found {len(kernels)}."
        )
    return config.model_copy(update={"strides": strides, "kernels": kernels})


def _check_own_strides(strides: tuple[Triple, ...], size: Triple, spatial_dims: int) -> None:
    """Raise `MedganError` if strides from a config cannot be built or trained; planned ones always can."""
    if spatial_dims == 2 and any(stride[2] != 1 for stride in strides):
        raise MedganError(f"generator.strides must be 1 along k where spatial_dims is 2, found {strides}; use 1.")
    halved = np.prod(strides, axis=0) > 1
    deepest = np.array(size) // np.prod(strides, axis=0)
    if (deepest[halved] < _SMALLEST).any():
        raise MedganError(
            f"generator.strides must leave at least {_SMALLEST} voxels of patch size {size} on each axis they halve, "
            f"found {strides}, which leave {tuple(deepest.tolist())}; use fewer strides or a larger patch."
        )


def check_patch_size(size: Triple, strides: tuple[Triple, ...]) -> None:
    """Raise `MedganError`, with the nearest sizes that fit, unless `size` divides by the strides on every axis."""
    factors = np.prod(np.array(strides).reshape(-1, 3), axis=0).astype(int)
    for axis, length, factor in zip("ijk", size, factors, strict=True):
        if length % factor:
            below, above = length // factor * factor, (length // factor + 1) * factor
            nearest = f"{below} or {above}" if below else f"{above}"
            raise MedganError(
                f"patch size {size} must be divisible by {factor} on axis {axis}; axis {axis} has {length}. "
                f"Use {nearest}."
            )


def _plan_strides(size: Triple, spacing_mm: tuple[float, float, float], spatial_dims: int) -> tuple[Triple, ...]:
    length, spacing = np.array(size, dtype=float), np.array(spacing_mm)
    movable = np.array([True, True, spatial_dims == 3])
    strides: list[Triple] = []
    while len(strides) < _DEEPEST:
        halves = movable & (length / 2 >= _SMALLEST)
        if not halves.any():
            break
        halves &= spacing <= _COARSE * spacing[halves].min()
        factor = np.where(halves, 2, 1)
        length, spacing = length / factor, spacing * factor
        strides.append((int(factor[0]), int(factor[1]), int(factor[2])))
    if not strides:
        raise MedganError(f"patch size {size} is too small: at least one axis must have {2 * _SMALLEST} voxels.")
    return tuple(strides)


def _plan_kernels(
    strides: tuple[Triple, ...], spacing_mm: tuple[float, float, float], spatial_dims: int
) -> tuple[Triple, ...]:
    """Return 3 along an axis from the first level on where it is not coarse or has been halved, and 1 before."""
    spacing, wide = np.array(spacing_mm), np.zeros(3, dtype=bool)
    kernels = []
    for factor in ((1, 1, 1), *strides):
        spacing = spacing * factor
        wide |= (spacing <= _COARSE * spacing[:spatial_dims].min()) | (np.array(factor) == 2)
        wide[2] &= spatial_dims == 3
        kernels.append(tuple(3 if is_wide else 1 for is_wide in wide))
    return tuple(kernels)  # type: ignore[arg-type]
