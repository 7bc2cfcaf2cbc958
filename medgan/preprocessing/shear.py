"""Sheared grids (a tilted CT gantry, a sform with shear) brought onto upright ones, and labels back.

Everything after this sees axes at right angles: a network that never saw a sheared thorax should not have to.
"""

import numpy as np

from medgan.volume.affine import spacing_of
from medgan.volume.volume import Volume

_MAX_COSINE = np.sin(np.radians(0.5))  # what rounding in headers leaves; the same bound as for a tilted gantry


def is_sheared(affine: np.ndarray) -> bool:
    """Return whether two voxel axes are more than half a degree off the right angle."""
    axes = affine[:3, :3] / spacing_of(affine)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _MAX_COSINE)


def upright_grid(shape: tuple[int, int, int], affine: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return size and affine of the smallest grid at right angles that holds a sheared one; itself if it is upright.

    Axis i stays, j and k lose what they share with the axes before them. So the slices of a tilted gantry stay the
    slices, at their true distance, and only move within their planes.
    """
    if not is_sheared(affine):
        return shape, affine
    columns, triangle = np.linalg.qr(affine[:3, :3])
    to_upright = triangle / np.diag(triangle)[:, None]  # voxel index to upright index, but for the origin
    corners = to_upright @ np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    first = np.floor(corners.min(axis=1) + 1e-6)
    i, j, k = (int(n) for n in np.ceil(corners.max(axis=1) - 1e-6) - first + 1)
    upright = np.eye(4)
    upright[:3, :3] = columns * np.diag(triangle)
    upright[:3, 3] = affine[:3, 3] + upright[:3, :3] @ first
    return (i, j, k), upright


def make_upright(volume: Volume) -> Volume:
    """Return a volume on its upright grid, by linear interpolation; beyond its edge the nearest value. float32."""
    shape, affine = upright_grid(volume.shape, volume.affine)
    if affine is volume.affine:
        return volume
    moved = [_moved(channel.astype(np.float32), volume.affine, shape, affine, order=1) for channel in volume.data]
    return Volume(np.stack(moved), affine)


def move_classes(
    classes: np.ndarray, affine: np.ndarray, *, shape: tuple[int, int, int], to_affine: np.ndarray
) -> np.ndarray:
    """Return class indices (I, J, K) of one grid on another, each voxel taking the nearest; 0 beyond the edge."""
    return _moved(classes, affine, shape, to_affine, order=0)


def _moved(
    data: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], to_affine: np.ndarray, *, order: int
) -> np.ndarray:
    from scipy.ndimage import affine_transform  # noqa: PLC0415  0.2 s that only sheared volumes need

    matrix = np.linalg.inv(affine) @ to_affine
    mode = "nearest" if order else "grid-constant"
    moved: np.ndarray = affine_transform(data, matrix, output_shape=shape, order=order, mode=mode)
    return moved
