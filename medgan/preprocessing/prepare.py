"""From a volume to what the network sees, and from its scores back to the source grid.

Preparing makes a sheared grid upright, lays the axes along R, A, S without interpolation, resamples along them to the
spacing of the model, and maps intensities. `Prepared` keeps the source grid, so `restore_classes` undoes it exactly in
shape and place.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medgan.config import PreprocessingConfig
from medgan.errors import MedganError
from medgan.preprocessing.intensity import apply_window, zscore
from medgan.preprocessing.resample import interpolation_matrix, resample_axes, resample_classes
from medgan.preprocessing.shear import make_upright, move_classes, upright_grid
from medgan.volume.affine import nearest_axes, spacing_of
from medgan.volume.volume import Volume, same_grid

_SLAB = 16  # slices whose class scores are held on the source grid at a time
_MAX_VOXELS = 2**31


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume as the network sees it, and what undoes the preparation.

    Attributes:
        image: (C, I, J, K) float32, axes along R, A, S.
        affine: (4, 4) of the prepared grid, RAS+ mm.
        source_shape: (I, J, K) of the volume it came from.
        source_affine: (4, 4) of the volume it came from.
    """

    image: np.ndarray
    affine: np.ndarray
    source_shape: tuple[int, int, int]
    source_affine: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """The voxel spacing along R, A, S in mm."""
        return spacing_of(self.affine)

    @property
    def upright(self) -> tuple[tuple[int, int, int], np.ndarray]:
        """Size and affine of the source grid without its shear, if it has any."""
        return upright_grid(self.source_shape, self.source_affine)


def prepare(
    volume: Volume,
    *,
    spacing_mm: tuple[float, float, float] | None,
    intensity: Literal["window", "zscore"],
    window: tuple[float, float] = (-1000.0, 400.0),
) -> Prepared:
    """Return `volume` as the network sees it.

    Args:
        volume: the image, any orientation.
        spacing_mm: spacing along R, A, S; None keeps the volume's own.
        intensity: "window" or "zscore", see `medgan.preprocessing.intensity`.
        window: lower and upper intensity of "window".

    Raises:
        MedganError: if the resampled grid would be absurdly large.
    """
    source, volume = volume, make_upright(volume)
    order, flips = nearest_axes(volume.affine)
    laid = _lay(volume.data, order, flips)
    own_mm = tuple(volume.spacing_mm[axis] for axis in order)
    target_mm = spacing_mm or own_mm
    shape = tuple(max(1, round(n * own / new)) for n, own, new in zip(laid.shape[1:], own_mm, target_mm, strict=True))
    if np.prod(shape, dtype=np.float64) > _MAX_VOXELS:
        raise MedganError(f"resampling to {spacing_mm} mm would give {shape} voxels; use a coarser spacing_mm.")
    resampled = resample_axes(laid, _matrices(laid.shape[1:], shape, own_mm, target_mm))
    mapped = apply_window(resampled, *window) if intensity == "window" else zscore(resampled)
    signs = np.where(flips, -1.0, 1.0)
    columns = volume.affine[:3, :3][:, list(order)] * signs * (np.array(target_mm) / np.array(own_mm))
    affine = _affine_about(_centre_of(volume), columns, shape)
    return Prepared(mapped, affine, source.shape, source.affine)


def prepare_for(volume: Volume, config: PreprocessingConfig) -> Prepared:
    """Return `volume` prepared as the section `preprocessing` says; see `prepare`."""
    return prepare(volume, spacing_mm=config.spacing_mm, intensity=config.intensity, window=config.window)


def require_same_grid(image: Volume, label: Volume, *, where: str) -> None:
    """Raise `MedganError`, naming both grids, unless a label lies on the grid of its image."""
    if not same_grid(image, label):
        raise MedganError(
            f"{where}: label and image must be on one grid, found label {label.describe_grid()} and image "
            f"{image.describe_grid()}. Correct the label, or set label_grid to resample in the manifest."
        )


def prepare_classes(classes: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Return class indices (I, J, K) on the prepared grid; each voxel takes the class that covers most of it.

    Args:
        classes: (I, J, K) class indices on the source grid of `prepared`.
        prepared: the image of the same case.
    """
    shape, affine = prepared.upright
    if affine is not prepared.source_affine:
        classes = move_classes(classes, prepared.source_affine, shape=shape, to_affine=affine)
    order, flips = nearest_axes(affine)
    laid = _lay(classes[None], order, flips)
    own_mm = tuple(spacing_of(affine)[axis] for axis in order)
    matrices = _matrices(laid.shape[1:], prepared.image.shape[1:], own_mm, prepared.spacing_mm)
    return np.ascontiguousarray(resample_classes(laid[0], matrices))


def restore_classes(scores: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Return the class of highest score at each voxel of the source grid, (I, J, K), uint8 or uint16.

    Scores are interpolated, not labels, so borders are as fine as the source grid; a slab of slices at a time, so
    memory for the source grid does not grow with the number of classes times its length.

    Args:
        scores: (num_classes, I, J, K) on the prepared grid, probabilities or logits.
        prepared: what they were computed from.
    """
    if scores.shape[1:] != prepared.image.shape[1:]:
        raise ValueError(f"scores {scores.shape} do not lie on the prepared grid {prepared.image.shape[1:]}")
    shape, affine = prepared.upright
    order, flips = nearest_axes(affine)
    own_mm = tuple(spacing_of(affine)[axis] for axis in order)
    laid_shape = tuple(shape[axis] for axis in order)
    first, second, third = _matrices(scores.shape[1:], laid_shape, prepared.spacing_mm, own_mm)
    third = np.eye(laid_shape[2], dtype=np.float32) if third is None else third
    dtype = np.uint8 if len(scores) <= 256 else np.uint16
    laid = np.empty((1, *laid_shape), dtype=dtype)
    for start in range(0, laid_shape[2], _SLAB):
        slab = resample_axes(scores, (first, second, third[start : start + _SLAB]))
        laid[0, :, :, start : start + _SLAB] = slab.argmax(axis=0)
    classes = np.ascontiguousarray(_unlay(laid, order, flips)[0])
    if affine is prepared.source_affine:
        return classes
    return move_classes(classes, affine, shape=prepared.source_shape, to_affine=prepared.source_affine)


def _lay(data: np.ndarray, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> np.ndarray:
    laid = data.transpose(0, *(axis + 1 for axis in order))
    return laid[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in flips))]


def _unlay(laid: np.ndarray, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> np.ndarray:
    unflipped = laid[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in flips))]
    return unflipped.transpose(0, *(axis + 1 for axis in np.argsort(order)))


def _matrices(
    shape_in: tuple[int, ...], shape_out: tuple[int, ...], from_mm: tuple[float, ...], to_mm: tuple[float, ...]
) -> tuple[np.ndarray | None, ...]:
    return tuple(
        None if n == m and np.isclose(own, new, rtol=1e-6) else interpolation_matrix(n, m, new / own)
        for n, m, own, new in zip(shape_in, shape_out, from_mm, to_mm, strict=True)
    )


def _centre_of(volume: Volume) -> np.ndarray:
    centre: np.ndarray = volume.affine @ [*(np.array(volume.shape) - 1) / 2, 1.0]
    return centre[:3]


def _affine_about(centre: np.ndarray, columns: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the affine of a grid of `shape` with these voxel axes whose centre lies at `centre`."""
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = centre - columns @ ((np.array(shape) - 1) / 2)
    return affine
