"""Where and how large each value of a label volume is."""

from dataclasses import dataclass

import numpy as np

from medgan.volume.volume import Volume

_LARGEST_TABLE = 65535  # values beyond are renumbered before they index a table


@dataclass(frozen=True)
class Region:
    """The voxels of one label value.

    Attributes:
        value: the label value, above 0.
        num_voxels: how many voxels have it.
        volume_ml: how much space they take.
        centre_mm: the mean of their positions, RAS+.
    """

    value: int
    num_voxels: int
    volume_ml: float
    centre_mm: tuple[float, float, float]


def regions_of(label: Volume) -> tuple[Region, ...]:
    """Return a region for each value above 0 of a label volume of unsigned integers, by value."""
    values, positions = label.data[0], None
    if int(values.max()) > _LARGEST_TABLE:
        positions = np.unique(values)
        values = np.searchsorted(positions, values)
    per_axis = [_counts_along(values, axis) for axis in range(3)]
    num_voxels = per_axis[0].sum(axis=0)
    regions = []
    for n in np.flatnonzero(num_voxels).tolist():
        value, count = int(n if positions is None else positions[n]), int(num_voxels[n])
        if value > 0:
            index = [counts[:, n] @ np.arange(len(counts)) / count for counts in per_axis]
            x, y, z = (label.affine @ [*index, 1.0])[:3].tolist()
            regions.append(Region(value, count, count * label.voxel_ml, (x, y, z)))
    return tuple(regions)


def _counts_along(values: np.ndarray, axis: int) -> np.ndarray:
    """Return how often each value stands in each plane across an axis, (planes, values)."""
    num_values = int(values.max()) + 1
    return np.stack(
        [np.bincount(plane.ravel(order="K"), minlength=num_values) for plane in np.moveaxis(values, axis, 0)]
    )
