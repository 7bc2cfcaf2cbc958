"""Surface elements of a mask and their areas, as marching cubes draws them.

A surface element lives at a corner of the voxel grid, between the 2 x 2 x 2 voxels that meet there, and is found where
some of these eight, but not all, belong to the mask. Its area is that of the piece of surface which marching cubes
(Lorensen and Cline 1987) puts between the eight voxel centres, so an element counts for as much surface as it stands
for. The areas are those of DeepMind's surface-distance (Nikolov et al. 2021), built here from six shapes.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import permutations, product

import numpy as np

_Corner = tuple[int, ...]
_Normals = list[tuple[float, ...]]

# Which of eight voxels belong to the mask, up to the turns and reflections of the cube, and what cuts them off from the
# others: the planar polygons between the middles of the cube's edges, each as a normal as long as its area is large.
# Voxels that share no face of the eight are cut off one by one, and of more than four the others are cut off.
_SHAPES: dict[tuple[str, ...], _Normals] = {
    ("000",): [(1 / 8, 1 / 8, 1 / 8)],  # a triangle
    ("000", "001"): [(1 / 2, 1 / 2, 0)],  # a rectangle
    ("000", "001", "010"): [(1 / 2, 0, 0), (3 / 8, 3 / 8, 3 / 8)],  # a triangle and a trapezium
    ("000", "001", "010", "011"): [(1, 0, 0)],  # a square
    ("000", "001", "010", "100"): [(3 / 4, 3 / 4, 3 / 4)],  # a hexagon
    ("011", "111", "110", "100"): [  # bent: in two ways three polygons, which a turn exchanges; half of each way
        (1 / 4, 1 / 4, 1 / 4),
        (0, -1 / 8, 1 / 8),
        (-1 / 8, 0, 1 / 8),
        (1 / 4, 1 / 4, -1 / 4),
        (-1 / 8, 0, -1 / 8),
        (0, -1 / 8, -1 / 8),
    ],
}
_CORNERS: list[_Corner] = list(product((0, 1), repeat=3))  # the voxel of bit n of a code, counted down from the corner


def element_codes(mask: np.ndarray, *, flat_axes: tuple[int, ...] = ()) -> np.ndarray:
    """Return which voxels around each corner of the grid belong to a mask, one bit each: 0 none, 255 all.

    Args:
        mask: bool, axes (I, J, K); what lies beyond the array is outside.
        flat_axes: axes along which there is no surface: the mask goes on there, unchanged.

    Returns:
        uint8, longer by 1 along every axis that is not flat: element (i, j, k) is the corner before voxel (i, j, k).
    """
    codes = np.zeros([size + (axis not in flat_axes) for axis, size in enumerate(mask.shape)], np.uint8)
    codes[tuple(map(slice, mask.shape))] = mask
    flat = codes.reshape(-1)
    for axis, bits in ((2, 1), (1, 2), (0, 4)):
        step = (
            0 if axis in flat_axes else codes.strides[axis]
        )  # before the first of a row lies the empty last of another
        flat[step:] |= flat[: flat.size - step] << bits
    return codes


def element_areas(matrix: np.ndarray) -> np.ndarray:
    """Return the area of the surface element of each of the 256 codes, in mm².

    Args:
        matrix: (3, 3), voxel index to mm. A flat axis has a vector of 1 mm at right angles to the others; an area is
            then the length of an outline in mm.
    """
    codes, normals = _normals_by_code()
    faces = np.stack([np.cross(matrix[:, (n + 1) % 3], matrix[:, (n + 2) % 3]) for n in range(3)])
    return np.bincount(codes, np.linalg.norm(normals @ faces, axis=1), minlength=256)


@cache
def _normals_by_code() -> tuple[np.ndarray, np.ndarray]:
    """Return the code that each polygon belongs to, and the polygons' normals (n, 3) for voxels of 1 mm."""
    images = dict(_images_of_shapes())
    codes, normals = [], []
    for code in range(1, 255):
        inside = {corner for bit, corner in enumerate(_CORNERS) if code >> bit & 1}
        for part in _parts(inside if len(inside) <= 4 else set(_CORNERS) - inside):
            normals += images[part]
            codes += [code] * len(images[part])
    return np.array(codes), np.array(normals, dtype=np.float64)


def _images_of_shapes() -> Iterator[tuple[frozenset[_Corner], _Normals]]:
    """Yield the shapes under all 48 turns and reflections of the cube."""
    for shape, normals in _SHAPES.items():
        corners = [tuple(map(int, corner)) for corner in shape]
        for order, flips in product(permutations(range(3)), product((0, 1), repeat=3)):
            turned = frozenset(tuple(c[axis] ^ flip for axis, flip in zip(order, flips, strict=True)) for c in corners)
            signs = [(1, -1)[flip] for flip in flips]
            yield turned, [tuple(s * n[axis] for axis, s in zip(order, signs, strict=True)) for n in normals]


def _parts(corners: Iterable[_Corner]) -> Iterator[frozenset[_Corner]]:
    """Yield the parts of a set of corners that are connected along the cube's edges."""
    left = set(corners)
    while left:
        part, new = set[_Corner](), {left.pop()}
        while new:
            part |= new
            new = {c for c in left if any(sum(map(abs, np.subtract(c, p))) == 1 for p in new)}
            left -= new
        yield frozenset(part)
