"""Shapes of the phantom as formulas.

A surface is a function of x, y, z in mm (arrays that broadcast) that is negative inside and, near zero, about the
distance in mm, so that it can be cut, joined and sampled on any grid.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Surface = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
Point = tuple[float, float, float]
Box = tuple[Point, Point]


@dataclass(frozen=True)
class Structure:
    """One thing to paint.

    Attributes:
        hu: its density in Hounsfield units; a function of x, y, z where it varies.
        surface: negative inside.
        box: lower and upper corner of the region it lies in; None for everywhere.
        organ: the organ its voxels are labelled with, if any.
    """

    hu: float | Surface
    surface: Surface
    box: Box | None = None
    organ: str | None = None


def ellipsoid(centre: Point, radii: Point, *, yaw: float = 0.0) -> Surface:
    """Return an ellipsoid, turned by `yaw` degrees about z."""
    turn = np.deg2rad(yaw)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))

    def surface(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        u, v, w = x - centre[0], y - centre[1], z - centre[2]
        squares = ((cos * u + sin * v) / radii[0]) ** 2 + ((cos * v - sin * u) / radii[1]) ** 2 + (w / radii[2]) ** 2
        return np.asarray((squares - 1) * (min(radii) / 2))

    return surface


def egg(centre: Sequence[float], radii: np.ndarray, frame: np.ndarray, *, pointed: float = 0.0) -> Surface:
    """Return an ellipsoid along the rows of `frame`, narrower by `pointed` towards the first one's end."""
    (cx, cy, cz), size = centre, float(radii.min()) / 2
    rows = (frame / radii[:, None]).tolist()

    def surface(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        u, v, w = x - cx, y - cy, z - cz
        a, b, c = (row[0] * u + row[1] * v + row[2] * w for row in rows)
        across = b * b + c * c
        if pointed:
            across *= 1 + pointed * np.clip(a, -1, 1)
        return np.asarray((a * a + across - 1) * size)

    return surface


def tube(start: np.ndarray, end: np.ndarray, radius: float, hu: float) -> Structure:
    """Return a tube with round ends between two points."""
    (sx, sy, sz), (dx, dy, dz) = start.tolist(), (end - start).tolist()
    ax, ay, az = ((end - start) / max(float((end - start) @ (end - start)), 1e-6)).tolist()

    def surface(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        u, v, w = x - sx, y - sy, z - sz
        along = np.clip(u * ax + v * ay + w * az, 0, 1)
        return np.asarray(np.sqrt((u - along * dx) ** 2 + (v - along * dy) ** 2 + (w - along * dz) ** 2) - radius)

    return Structure(hu, surface, box_around(np.minimum(start, end), np.maximum(start, end), margin=radius))


def chain(points: Sequence[Point], radius: float, hu: float) -> Iterator[Structure]:
    """Yield the tubes from point to point."""
    for start, end in pairwise(points):
        yield tube(np.array(start, float), np.array(end, float), radius, hu)


def both(a: Surface, b: Surface) -> Surface:
    """Return what lies inside two surfaces."""
    return lambda x, y, z: np.maximum(a(x, y, z), b(x, y, z))


def ragged(surface: Surface) -> Surface:
    """Return a surface with an irregular border, some millimetres to and fro."""

    def displaced(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        waves = np.sin(x / 3.1 + y / 7) * np.sin(y / 2.7 + z / 6) * np.sin(z / 3.4 + x / 8)
        return np.asarray(surface(x, y, z) + 3.5 * waves)

    return displaced


def to_nearest_multiple(z: np.ndarray, period: float) -> np.ndarray:
    """Return the distance to the nearest multiple of `period`."""
    return np.asarray(abs(z - period * np.round(z / period)))


def box_around(low: np.ndarray, high: np.ndarray, *, margin: float = 0.0) -> Box:
    """Return the box between two corners, widened by `margin`."""
    (a, b, c), (d, e, f) = (low - margin).tolist(), (high + margin).tolist()
    return (a, b, c), (d, e, f)
