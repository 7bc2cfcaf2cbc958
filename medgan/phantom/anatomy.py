"""A synthetic chest, drawn at random and described by formulas.

Positions are millimetres in the patient's frame: x to the patient's right, y to the front, z to the head, origin in the
middle of the chest. What comes later in `structures_of` is painted over what came before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medgan.phantom.shapes import (
    Box,
    Point,
    Structure,
    Surface,
    both,
    box_around,
    chain,
    egg,
    ellipsoid,
    ragged,
    to_nearest_multiple,
    tube,
)

Side = Literal["left", "right"]

_SIDES: tuple[tuple[Side, int], ...] = (("left", -1), ("right", 1))  # and the sign of x there
_RIB_PERIOD_MM = 25.0
_VERTEBRA_PERIOD_MM = 24.0
_CHEST_BOX: Box = ((-110.0, -84.0, -300.0), (110.0, 84.0, 120.0))


@dataclass(frozen=True)
class Anatomy:
    """What is drawn at random for one patient; lengths in mm, angles in degrees, densities in HU."""

    scale: float
    yaw: float
    shift: tuple[float, float, float]
    fat: float
    chest_depth: float
    kyphosis: float
    lung_width: tuple[float, float]
    apex: tuple[float, float]
    dome: tuple[float, float]
    dome_drop: float
    heart_centre: tuple[float, float, float]
    heart_radii: tuple[float, float, float]
    heart_axis: tuple[float, float, float]
    heart_fat: float
    lung_hu: float
    heart_hu: float
    blood_hu: tuple[float, float]
    organ_hu: float
    mediastinum_hu: float
    bone_hu: float
    tree_seed: int

    def pose(self) -> np.ndarray:
        """Return the (4, 4) matrix from the patient's frame to the world."""
        turn = np.deg2rad(self.yaw)
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        pose[:3, :3] *= self.scale
        pose[:3, 3] = self.shift
        return pose


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Return a random, plausible patient."""

    def around(centre: float, spread: float) -> float:
        return float(rng.uniform(centre - spread, centre + spread))

    heart_size = around(1.0, 0.12)
    blood = float(rng.choice([45.0, 70.0, 130.0]))  # without contrast medium, late, early
    right_dome = around(-36, 9)
    return Anatomy(
        scale=around(0.99, 0.06),
        yaw=around(0, 5),
        shift=(around(0, 8), around(0, 3), around(0, 6)),
        fat=around(10, 4),
        chest_depth=around(72, 5),
        kyphosis=around(9, 4),
        lung_width=(around(48, 2.5), around(52, 2.5)),
        apex=(around(97, 5), around(99, 5)),
        dome=(right_dome - around(14, 5), right_dome),
        dome_drop=around(62, 10),
        heart_centre=(around(-24, 5), around(14, 5), around(-26, 6)),
        heart_radii=(heart_size * around(58, 3), heart_size * around(43, 3), heart_size * around(40, 3)),
        heart_axis=(around(-0.72, 0.12), around(0.46, 0.12), around(-0.52, 0.15)),
        heart_fat=around(3.5, 1.5),
        lung_hu=around(-800, 80),  # breathed in to breathed out
        heart_hu=around(48, 8) + 0.3 * (blood - 45),
        blood_hu=(blood + around(5, 5), blood + around(-8, 5)),
        organ_hu=around(58, 8) + 0.4 * (blood - 45),
        mediastinum_hu=around(-75, 25),
        bone_hu=around(480, 120),
        tree_seed=int(rng.integers(2**31)),
    )


def structures_of(anatomy: Anatomy, *, consolidation: bool) -> Iterator[Structure]:
    """Yield everything to paint, in order; with `consolidation`, part of the right lung is dense, and still lung."""
    yield Structure(-350.0, lambda x, y, z: abs(y + 107 - (x / 60) ** 2) - 2.5)  # the table
    yield from _trunk(anatomy)
    yield from _abdomen(anatomy)
    yield from _bones(anatomy)
    yield from _lungs(anatomy)
    if consolidation:
        yield from _consolidations(anatomy)
    yield from _mediastinum(anatomy)
    yield from _heart(anatomy)


def lung_surface(anatomy: Anatomy, side: Side) -> Surface:
    """Return the surface of one lung: a tapering half of the chest, without diaphragm, mediastinum, spine and heart."""
    index, sign = (0, -1) if side == "left" else (1, 1)
    width, apex, dome = anatomy.lung_width[index], anatomy.apex[index], anatomy.dome[index]
    depth, drop = anatomy.chest_depth, anatomy.dome_drop
    heart = _heart_surface(anatomy, margin=anatomy.heart_fat)
    aorta = ellipsoid((-23, -36, 0), (17, 17, 600))

    def surface(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        above = np.maximum(z + 30, 0) / (apex + 30)
        u = x - sign * (53 - 9 * above)
        shell = (abs(u / width) ** 2.4 + abs((y + 2 * above) / depth) ** 2.4 + above**2.6 - 1) * (width / 2.4)
        rim = dome - drop * ((u / width) ** 2 + ((y - 12) / depth) ** 2)
        outside = np.maximum(shell, 0.5 * (rim - z))
        between = 12 * (1 - (x / (23 + 4 * above)) ** 2 - ((y + 2) / 74) ** 2)
        spine = 11 * (1 - (x / 25) ** 2 - ((y - _spine_y(anatomy, z)) / 23) ** 2)
        inner = np.maximum(between, spine)
        if side == "left":
            inner = np.maximum(inner, -aorta(x, y, z))
        np.maximum(outside, inner, out=outside)
        return np.asarray(np.maximum(outside, -heart(x, y, z), out=outside))

    return surface


def _lung_box(anatomy: Anatomy, sign: int) -> Box:
    width, depth = max(anatomy.lung_width) + 1, anatomy.chest_depth + 4
    low, high = sorted((0.0, sign * (53 + width)))
    return (low, -depth, -170), (high, depth, max(anatomy.apex) + 2)


def _trunk(anatomy: Anatomy) -> Iterator[Structure]:
    yield Structure(-100.0, _trunk_surface(140, 100, taper=0.25))
    yield Structure(52.0, _trunk_surface(140 - anatomy.fat, 100 - anatomy.fat, taper=0.25))
    yield Structure(anatomy.mediastinum_hu, _trunk_surface(107, anatomy.chest_depth + 6, taper=0.9), _CHEST_BOX)


def _trunk_surface(width: float, depth: float, *, taper: float) -> Surface:
    """Return a rounded cylinder along z that narrows by `taper` towards the head."""

    def surface(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        above = np.maximum(z + 30, 0) / 140
        outline = abs(x / width) ** 2.5 + abs(y / depth) ** 2.5
        return np.asarray((outline + taper * above**3 - 1) * (depth / 2.5))

    return surface


def _abdomen(anatomy: Anatomy) -> Iterator[Structure]:
    """Liver, spleen and stomach reach above the diaphragm here; the lungs are painted over them."""
    inside = _trunk_surface(106, anatomy.chest_depth + 5, taper=0.9)
    hu, (left, right) = anatomy.organ_hu, anatomy.dome
    spleen, stomach = ellipsoid((-66, -34, left - 40), (42, 42, 48)), ellipsoid((-48, 26, left - 40), (44, 40, 46))
    liver, gas = ellipsoid((48, 4, right - 62), (92, 82, 68)), ellipsoid((-50, 40, left - 28), (22, 14, 12))
    yield Structure(hu, both(inside, spleen), _CHEST_BOX)
    yield Structure(35.0, both(inside, stomach), _CHEST_BOX)
    yield Structure(-980.0, gas, ((-72, 26, left - 40), (-28, 54, left - 16)))
    yield Structure(hu + 5, both(inside, liver), _CHEST_BOX)


def _bones(anatomy: Anatomy) -> Iterator[Structure]:
    hu = anatomy.bone_hu
    front = anatomy.chest_depth + 10
    ribs_box = ((-118.0, -front - 7, -300.0), (118.0, front + 7, 130.0))
    yield Structure(
        lambda x, y, z: np.where(y > 52, 0.35 * hu, hu), _rib_surface(anatomy), ribs_box
    )  # cartilage in front
    sternum = ellipsoid((0, front - 4, 25), (19, 7.5, 78))
    yield Structure(0.55 * hu, sternum, ((-20, front - 12, -55), (20, front + 5, 105)))
    for _, sign in _SIDES:
        scapula = ellipsoid((sign * 76, -75, 62), (36, 4, 52), yaw=sign * 26)
        yield Structure(0.8 * hu, scapula, ((sign * 76 - 40, -95, 8), (sign * 76 + 40, -50, 116)))
    yield from _spine(anatomy)


def _rib_surface(anatomy: Anatomy) -> Surface:
    """Return ribs that fall to the front, as tubes of elliptic section on the wall of the chest."""
    cage = _trunk_surface(112, anatomy.chest_depth + 11, taper=0.9)

    def surface(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        height = to_nearest_multiple(z + 0.45 * y, _RIB_PERIOD_MM)
        return np.asarray(np.sqrt(cage(x, y, z) ** 2 + (0.75 * height) ** 2) - 4.2)

    return surface


def _spine_y(anatomy: Anatomy, z: np.ndarray) -> np.ndarray:
    """Return where the middle of the vertebral bodies runs."""
    return np.asarray(-54 - anatomy.kyphosis * (1 - ((z + 10) / 130) ** 2))


def _spine(anatomy: Anatomy) -> Iterator[Structure]:
    hu, box = anatomy.bone_hu, ((-32.0, -120.0, -300.0), (32.0, -20.0, 300.0))
    body = _vertebral_column(anatomy)

    def body_hu(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        end = to_nearest_multiple(z, _VERTEBRA_PERIOD_MM)
        marrow = np.where(body(x, y, z) < -1.8, 0.45 * hu, hu)
        return np.where(end < 2.6, 85.0, np.where(end < 4.2, hu, marrow))  # disc, end plate, vertebra

    def canal(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.asarray(((x / 8) ** 2 + ((y - _spine_y(anatomy, z) + 22) / 7.5) ** 2 - 1) * 4)

    yield Structure(0.8 * hu, _vertebral_processes(anatomy), box)
    yield Structure(body_hu, body, box)
    yield Structure(25.0, canal, box)


def _vertebral_column(anatomy: Anatomy) -> Surface:
    def surface(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.asarray(((x / 18) ** 2 + ((y - _spine_y(anatomy, z)) / 15) ** 2 - 1) * 7.5)

    return surface


def _vertebral_processes(anatomy: Anatomy) -> Surface:
    """Return the arch around the canal, and the transverse and spinous processes, once per vertebra."""
    period = _VERTEBRA_PERIOD_MM

    def surface(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        behind = y - _spine_y(anatomy, z)
        arch = abs(np.sqrt(x**2 + (behind + 22) ** 2) - 10) - 2.5
        level = to_nearest_multiple(z + period / 2, period)
        transverse = np.maximum(np.maximum(abs(behind + 21) - 4.5, abs(x) - 30), level - 5)
        lowered = to_nearest_multiple(z + period / 2 - 0.5 * (behind + 30), period)
        spinous = np.maximum(np.maximum(abs(behind + 37) - 10, abs(x) - 3.5), lowered - 6)
        return np.asarray(np.minimum(np.maximum(arch, level - 8), np.minimum(transverse, spinous)))

    return surface


def _lungs(anatomy: Anatomy) -> Iterator[Structure]:
    def density(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.asarray(anatomy.lung_hu - 0.6 * y)  # the back of a lying patient's lung is the denser part

    for side, sign in _SIDES:
        yield Structure(density, lung_surface(anatomy, side), _lung_box(anatomy, sign), organ=f"{side}_lung")
        yield from _vessels(anatomy, side, sign)


def _vessels(anatomy: Anatomy, side: Side, sign: int) -> Iterator[Structure]:
    """Yield a tree of vessels that starts at the hilum and stays inside the lung."""
    rng = np.random.default_rng([anatomy.tree_seed, sign + 1])
    lung = lung_surface(anatomy, side)
    hilum = np.array([sign * 30.0, -10.0, 14.0])
    trunks = ((0.6, 0.15, 0.8), (0.8, 0.6, 0.1), (0.8, -0.55, 0.05), (0.55, -0.25, -0.85), (0.75, 0.25, -0.45))
    grown = [(hilum, np.array([sign * x, y, z]), 5.0, 33.0, 0) for x, y, z in trunks]
    while grown:
        start, direction, radius, length, generation = grown.pop()
        direction /= np.linalg.norm(direction)
        ends = [start + part * length * direction for part in (1.0, 0.7, 0.4)]
        end = next((end for end in ends if float(lung(*end[:, None])[0]) < -2.5), None)
        if end is None:
            continue
        yield tube(start, end, radius, anatomy.blood_hu[1])
        if generation < 5:
            bends = 0.6 * rng.standard_normal((2, 3))
            grown += [(end, direction + bend, 0.72 * radius, 0.8 * length, generation + 1) for bend in bends]


def _consolidations(anatomy: Anatomy) -> Iterator[Structure]:
    """Yield ground glass and, within it, dense regions at the back of the right lower lobe."""
    rng = np.random.default_rng([anatomy.tree_seed, 3])
    lung = lung_surface(anatomy, "right")
    middle = np.array([64.0, -40.0, anatomy.dome[1] + 10.0])
    centres = middle + rng.uniform(-1, 1, (8, 3)) * (20, 16, 26)
    radii = rng.uniform(12, 20, (8, 3))
    for growth, hu in ((7.0, -520.0), (0.0, 25.0)):
        for centre, size in zip(centres, radii + growth, strict=True):
            blob = ragged(egg(centre.tolist(), size, np.eye(3)))
            yield Structure(hu, both(blob, lung), box_around(centre - size, centre + size, margin=4.0))


def _mediastinum(anatomy: Anatomy) -> Iterator[Structure]:
    """Yield the great vessels, the airways and the oesophagus."""
    arterial, venous = anatomy.blood_hu
    paths: tuple[tuple[float, float, list[Point]], ...] = (
        (8.5, venous, [(14, 4, -25), (15, 2, 20), (15, 2, 62), (8, 6, 95)]),  # superior vena cava
        (13.5, arterial, [(0, 14, 0), (4, 24, 30), (0, 14, 58), (-12, -8, 66)]),  # ascending aorta and arch
        (13.5, arterial, [(-12, -8, 66), (-22, -30, 54), (-22, -36, 0), (-20, -36, -300)]),  # descending aorta
        (12, venous, [(-12, 30, -5), (-16, 18, 26), (-4, -4, 24), (30, -10, 14)]),  # pulmonary trunk, right artery
        (10, venous, [(-16, 18, 26), (-30, -10, 14)]),  # left pulmonary artery
        (5, arterial, [(0, 2, 60), (6, 2, 140)]),  # brachiocephalic artery
        (5, arterial, [(-14, -8, 66), (-17, -4, 140)]),  # left carotid artery
        (6, 38.0, [(-6, -30, 140), (-5, -32, 0), (-8, -28, -75)]),  # oesophagus
    )
    for radius, hu, points in paths:
        yield from chain(points, radius, hu)
    carina = (1.0, -14.0, 34.0)
    for radius, hu in ((9.5, 30.0), (7.8, -990.0)):  # walls, then air
        yield from chain([(0, -8, 300), (0, -10, 90), carina], radius, hu)
        yield from chain([carina, (26, -14, 16)], 0.75 * radius, hu)
        yield from chain([carina, (-28, -16, 12)], 0.68 * radius, hu)


def _heart_frame(anatomy: Anatomy) -> np.ndarray:
    """Return rows: to the apex, to the right and front (right heart), and the third direction."""
    apex = np.array(anatomy.heart_axis)
    apex /= np.linalg.norm(apex)
    front = np.array([0.75, 0.65, 0.1])
    front -= (front @ apex) * apex
    front /= np.linalg.norm(front)
    return np.stack([apex, front, np.cross(apex, front)])


def _heart_surface(anatomy: Anatomy, *, margin: float) -> Surface:
    """Return the heart, egg-shaped with the point at the apex, or the same widened by `margin` mm."""
    radii = np.array(anatomy.heart_radii) + margin
    return egg(anatomy.heart_centre, radii, _heart_frame(anatomy), pointed=0.3)


def _heart(anatomy: Anatomy) -> Iterator[Structure]:
    frame, centre, radii = _heart_frame(anatomy), np.array(anatomy.heart_centre), np.array(anatomy.heart_radii)
    box = box_around(centre, centre, margin=float(radii.max()) * 1.15 + anatomy.heart_fat)
    yield Structure(-85.0, _heart_surface(anatomy, margin=anatomy.heart_fat - 0.3), box)
    yield Structure(anatomy.heart_hu, _heart_surface(anatomy, margin=0.0), box, organ="heart")
    within = _heart_surface(anatomy, margin=-3.0)
    arterial, venous = anatomy.blood_hu
    for hu, offset, fractions in (
        (arterial, (0.28, -0.33, 0.0), (0.42, 0.40, 0.42)),  # left ventricle, with a thick wall
        (venous, (0.10, 0.52, 0.0), (0.48, 0.30, 0.50)),  # right ventricle
        (arterial, (-0.60, -0.28, 0.1), (0.26, 0.40, 0.45)),  # left atrium
        (venous, (-0.52, 0.42, -0.1), (0.28, 0.32, 0.45)),  # right atrium
    ):
        middle = centre + (np.array(offset) * radii) @ frame
        yield Structure(hu, both(egg(middle.tolist(), np.array(fractions) * radii, frame), within), box)
