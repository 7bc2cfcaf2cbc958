"""Volume: voxels and the affine that places them in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medgan.errors import MedganError
from medgan.volume.affine import check_affine, orientation_of, spacing_of

_SMALLEST_MM = 0.005  # a seventh of what grids may be apart: three spacings, three directions and a position add up


@dataclass(frozen=True, eq=False)
class Volume:
    """An image or a label volume on a grid in the patient.

    Attributes:
        data: voxels, axes (C, I, J, K). A label volume has C = 1 and an integer type; a 2D image has K = 1.
        affine: (4, 4) float64, voxel index (i, j, k) to RAS+ millimetres. It is the only stored geometry.

    Raises:
        MedganError: if `data` is not 4D or empty, or the affine does not place voxels in space.

    Example:
        >>> volume = Volume(np.zeros((1, 4, 5, 6), np.float32), np.diag([2.0, 1.0, 3.0, 1.0]))
        >>> volume.shape, volume.spacing_mm, volume.orientation
        ((4, 5, 6), (2.0, 1.0, 3.0), 'RAS')
    """

    data: np.ndarray
    affine: np.ndarray

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or 0 in self.data.shape:
            raise MedganError(f"volume data must have non-empty axes (C, I, J, K), found shape {self.data.shape}.")
        affine = np.array(self.affine, dtype=np.float64)
        check_affine(affine)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The grid size (I, J, K) in voxels."""
        _, i, j, k = self.data.shape
        return i, j, k

    @property
    def num_channels(self) -> int:
        """The number of channels C."""
        return int(self.data.shape[0])

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """The distance between voxel centres along i, j, k in mm."""
        return spacing_of(self.affine)

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def orientation(self) -> str:
        """Where i, j and k point, in the letters of the nearest patient axes, as in "RAS" or "LPI"."""
        return orientation_of(self.affine)

    def describe_grid(self) -> str:
        """Return size, spacing, orientation and origin in words, for messages."""
        return describe_grid(self.shape, self.affine)


def same_grid(a: Volume, b: Volume, *, tolerance_mm: float = 0.05) -> bool:
    """Return whether two volumes have the same size and every corner voxel within `tolerance_mm` of each other.

    Corners are compared, not matrix entries: a rotation of a thousandth of a degree moves a corner of a large volume
    by less than it would show in one entry, and an error in spacing adds up along the axis.
    """
    if a.shape != b.shape:
        return False
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in a.shape], indexing="ij")).reshape(3, -1)
    difference = (a.affine - b.affine)[:3]
    return bool(np.linalg.norm(difference[:, :3] @ corners + difference[:, 3:], axis=0).max() <= tolerance_mm)


def stack_channels(volumes: Sequence[Volume], *, where: str) -> Volume:
    """Return one volume with the channels of all `volumes`, which must share a grid.

    Raises:
        MedganError: if a grid differs from the first one's; both grids are named.
    """
    first = volumes[0]
    for number, other in enumerate(volumes[1:], start=2):
        if not same_grid(first, other):
            raise MedganError(
                f"{where}: channels 1 and {number} must be on one grid, found {first.describe_grid()} "
                f"and {other.describe_grid()}."
            )
    return first if len(volumes) == 1 else Volume(np.concatenate([v.data for v in volumes]), first.affine)


def describe_grid(shape: Sequence[int], affine: np.ndarray) -> str:
    """Return a grid in words: size, spacing, orientation and the position of its first voxel (RAS+)."""
    size = "x".join(str(n) for n in shape)
    spacing = ", ".join(f"{s:.4g}" for s in spacing_of(affine))
    origin = ", ".join(f"{x:.1f}" for x in affine[:3, 3])
    return f"{size} voxels of ({spacing}) mm, {orientation_of(affine)}, first voxel at ({origin}) mm"


def describe_difference(a: Volume, b: Volume) -> str:
    """Return what two grids differ in, in words: size, spacing, direction, position of the first voxel; "" if nothing.

    A difference is named if it moves a voxel by more than 0.005 mm, so whatever `same_grid` refuses has at least one.
    """
    parts = []
    if a.shape != b.shape:
        parts.append(f"size ({' and '.join('x'.join(map(str, each.shape)) for each in (a, b))} voxels)")
    spacings = np.array([a.spacing_mm, b.spacing_mm])
    extent = np.maximum(a.shape, b.shape) - 1
    if (np.abs(np.diff(spacings, axis=0)) * extent > _SMALLEST_MM).any():
        parts.append(f"spacing ({' and '.join(_numbers(each) for each in spacings)} mm)")
    axes = [each.affine[:3, :3] / spacing for each, spacing in zip((a, b), spacings, strict=True)]
    chords = np.linalg.norm(axes[0] - axes[1], axis=0)  # 2 sin of half the angle between the axes
    if (chords * spacings.max(axis=0) * extent > _SMALLEST_MM).any():
        angle = np.degrees(2 * np.arcsin(min(1.0, float(chords.max()) / 2)))
        parts.append(f"direction (axes up to {angle:.3g} degrees apart)")
    distance = float(np.linalg.norm(a.affine[:3, 3] - b.affine[:3, 3]))
    if distance > _SMALLEST_MM:
        parts.append(f"the position of the first voxel (by {distance:.5g} mm)")
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def _numbers(values: np.ndarray) -> str:
    return f"({', '.join(f'{value:.7g}' for value in values.tolist())})"
