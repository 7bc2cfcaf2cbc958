"""Random changes of training patches: what to do is drawn first, then applied, so that it can be recorded.

Rotation, scaling, shear and elastic deformation are one resampling, taken straight from the volume, so no patch is
interpolated twice and its border shows real surroundings instead of padding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from medgan.config import AugmentationConfig

_CONTROL_POINTS = 5  # of the elastic deformation, along each axis


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for one patch. None, 1 or False leave the patch as it is.

    Attributes:
        matrix: (3, 3), patch position to volume position about the patch centre, in mm.
        displacement_mm: (3, P, P, P) displacements at control points spread over the patch.
        mirrored: left and right are exchanged, in the image and in the labels.
        brightness, contrast: intensity * contrast + brightness.
        gamma: exponent on the patch's own 0..1 range.
        noise: standard deviation and the seed of the noise.
        blur_voxels: standard deviation of a Gaussian blur.
        coarseness: factor to a coarser grid and back.
        is_planar: blur and coarser grid stay within the (I, J) plane; the geometry above is drawn so.
    """

    matrix: np.ndarray | None = None
    displacement_mm: np.ndarray | None = None
    mirrored: bool = False
    brightness: float = 0.0
    contrast: float = 1.0
    gamma: float = 1.0
    noise: tuple[float, int] | None = None
    blur_voxels: float = 0.0
    coarseness: float = 1.0
    is_planar: bool = False


def draw_augmentation(config: AugmentationConfig, rng: np.random.Generator, *, is_planar: bool) -> Augmentation:
    """Return a random `Augmentation`.

    Args:
        config: ranges and probabilities.
        rng: the only source of randomness.
        is_planar: keep geometry, blur and coarser grids within the (I, J) plane, for 2D images and thick slices.
    """
    rotates, bends = rng.random() < config.affine_probability, rng.random() < config.elastic_probability
    return Augmentation(
        matrix=_draw_matrix(config, rng, is_planar=is_planar) if rotates else None,
        displacement_mm=_draw_displacement(config.elastic_mm, rng, is_planar=is_planar) if bends else None,
        mirrored=bool(config.mirror and rng.random() < 0.5),
        is_planar=is_planar,
        **_draw_intensity(config, rng),
    )


def warp_grid(
    augmentation: Augmentation, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> np.ndarray | None:
    """Return where each patch voxel is taken from, (I, J, K, 3) in voxels from the patch centre; None if unmoved."""
    if augmentation.matrix is None and augmentation.displacement_mm is None:
        return None
    spacing = np.array(spacing_mm)
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(size, spacing_mm, strict=True)]
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    if augmentation.matrix is not None:
        positions = positions @ augmentation.matrix.T
    if augmentation.displacement_mm is not None:
        control = torch.from_numpy(augmentation.displacement_mm)[None]
        field_mm = F.interpolate(control, size=size, mode="trilinear", align_corners=True)[0]
        positions = positions + field_mm.permute(1, 2, 3, 0).numpy()
    return np.asarray(positions / spacing, dtype=np.float32)


def apply_intensity(image: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Return `image` (C, I, J, K) float32 with the drawn changes of intensity."""
    if augmentation.coarseness > 1.0:
        image = _coarsen(image, augmentation.coarseness, is_planar=augmentation.is_planar)
    if augmentation.blur_voxels > 0.0:
        in_plane, across = augmentation.blur_voxels, 0.0 if augmentation.is_planar else augmentation.blur_voxels
        image = gaussian_filter(image, (0.0, in_plane, in_plane, across))
    if augmentation.gamma != 1.0:
        lower, upper = image.min(), image.max()
        extent = max(float(upper - lower), 1e-6)
        image = ((image - lower) / extent) ** augmentation.gamma * extent + lower
    image = image * augmentation.contrast + augmentation.brightness
    if augmentation.noise is not None:
        deviation, seed = augmentation.noise
        image = image + deviation * np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
    return image.astype(np.float32, copy=False)


def mirror(image: np.ndarray, classes: np.ndarray, partners: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return image (C, I, J, K) and classes (I, J, K) mirrored left to right, with mirror partners exchanged.

    Args:
        image: axes along R, A, S, so left and right run along I.
        classes: class indices of the same patch.
        partners: for each class, the class it becomes (`LabelMap.mirrored_classes`).
    """
    swapped = np.array(partners, dtype=classes.dtype)[classes[::-1]]
    return np.ascontiguousarray(image[:, ::-1]), swapped


def _draw_matrix(config: AugmentationConfig, rng: np.random.Generator, *, is_planar: bool) -> np.ndarray:
    angles = np.radians(rng.uniform(-config.rotation_degrees, config.rotation_degrees, size=3))
    scales = np.exp(rng.uniform(-1, 1) * np.log1p(config.scale)) * np.ones(3)
    shears = rng.uniform(-config.shear, config.shear, size=3)
    if is_planar:
        angles[:2], shears[1:], scales[2] = 0.0, 0.0, 1.0
    matrix = np.diag(scales)
    for (a, b), angle in zip(((1, 2), (0, 2), (0, 1)), angles, strict=True):
        rotation = np.eye(3)
        rotation[[a, b], [a, b]] = np.cos(angle)
        rotation[a, b], rotation[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ rotation
    shearing = np.eye(3)
    shearing[0, 1], shearing[0, 2], shearing[1, 2] = shears
    return np.asarray(matrix @ shearing)


def _draw_displacement(deviation_mm: float, rng: np.random.Generator, *, is_planar: bool) -> np.ndarray:
    shape = (3, _CONTROL_POINTS, _CONTROL_POINTS, 1 if is_planar else _CONTROL_POINTS)
    displacement = rng.normal(0.0, deviation_mm, size=shape).astype(np.float32)
    if is_planar:
        displacement[2] = 0.0
    return displacement


def _draw_intensity(config: AugmentationConfig, rng: np.random.Generator) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    if rng.random() < config.intensity_probability:
        drawn["brightness"] = float(rng.normal(0.0, 0.1))
        drawn["contrast"] = float(rng.uniform(0.75, 1.25))
    if rng.random() < config.gamma_probability:
        drawn["gamma"] = float(np.exp(rng.uniform(-0.4, 0.4)))
    if rng.random() < config.noise_probability:
        drawn["noise"] = (float(rng.uniform(0.0, 0.15)), int(rng.integers(2**31)))
    if rng.random() < config.blur_probability:
        drawn["blur_voxels"] = float(rng.uniform(0.5, 1.0))
    if rng.random() < config.low_resolution_probability:
        drawn["coarseness"] = float(rng.uniform(1.2, 2.0))
    return drawn


def _coarsen(image: np.ndarray, factor: float, *, is_planar: bool) -> np.ndarray:
    size = image.shape[1:]
    coarse = [max(1, round(n / factor)) for n in size[:2]]
    coarse.append(size[2] if is_planar else max(1, round(size[2] / factor)))
    small = F.interpolate(torch.from_numpy(image)[None], size=coarse, mode="nearest-exact")
    return F.interpolate(small, size=size, mode="trilinear", align_corners=False)[0].numpy()
