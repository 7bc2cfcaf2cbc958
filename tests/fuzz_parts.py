"""What a judge of `fuzz.py` finds in a file: pixels with their places and values, or a reason to refuse it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medgan.volume.volume import Volume

TO_RAS = np.array([-1.0, -1.0, 1.0])
"""What LPS millimetres are multiplied with."""


class UnreadableError(Exception):
    """The judge finds nothing valid here: unless what was loaded is the original, it had to be refused."""


class ContradictionError(Exception):
    """The input contradicts itself in what it must not: whatever was loaded, it had to be refused."""


class UndecidedError(Exception):
    """The judge has no second decoder for this."""


@dataclass(frozen=True)
class Part:
    """Pixels that one file or frame holds: where they are (N, 3) in RAS+ mm, and their real values (N,)."""

    name: str
    points: np.ndarray
    values: np.ndarray


def same_world(volume: Volume, truth: Volume) -> bool:
    """Return whether two volumes hold the same values at the same points in the patient."""
    return volume.data.size == truth.data.size and not difference(volume, [grid_part(truth.data[0], truth.affine)], "")


def difference(volume: Volume, parts: Sequence[Part], said: str) -> str:
    """Return how a volume differs from all that its files hold, "" if in nothing; `said` are the warnings."""
    with np.errstate(all="ignore"):
        return _difference(volume, parts, said)


def _difference(volume: Volume, parts: Sequence[Part], said: str) -> str:
    covered = np.zeros(volume.shape, bool)
    inverse = np.linalg.inv(volume.affine)
    for part in parts:
        tolerance_mm = _tolerance_mm(part, volume)
        exact = part.points @ inverse[:3, :3].T + inverse[:3, 3]
        index = np.rint(exact).astype(np.int64)
        inside = ((index >= 0) & (index < volume.shape)).all(axis=1)
        off_mm = np.linalg.norm((exact - index) @ volume.affine[:3, :3].T, axis=1)
        if not inside.all() or off_mm.max() > tolerance_mm:
            if part.name and is_announced(part.name, said):
                continue
            return f"{part.name or 'a voxel'} is not where it should be, or was left out without a word"
        found = volume.data[0][tuple(index.T)].astype(np.float64)
        if not np.isfinite(part.values).all():
            return f"{part.name} holds NaN or infinite values"
        off = np.abs(found - part.values) > 2e-6 * max(1.0, float(np.abs(part.values).max()))
        if off.any():
            n = int(np.flatnonzero(off)[0])
            return f"{part.name}: {found[n]:g} at voxel {index[n].tolist()}, should be {part.values[n]:g}"
        covered[tuple(index.T)] = True
    return "" if covered.all() else f"{int((~covered).sum())} voxels come from no file"


def _tolerance_mm(part: Part, volume: Volume) -> float:
    """Slices may be a little uneven, as medgan says it allows; the voxels of a grid may not."""
    if part.name:
        return max(0.051, 0.021 * max(volume.spacing_mm))
    return 1e-3 * min(1.0, *volume.spacing_mm) + 1e-9 * float(np.abs(part.points).max())


def grid_part(data: np.ndarray, affine: np.ndarray) -> Part:
    """Return the part that is a whole grid, (I, J, K)."""
    index = np.indices(data.shape).reshape(3, -1).T
    return Part("", index @ affine[:3, :3].T + affine[:3, 3], data.reshape(-1).astype(np.float64))


def is_announced(name: str, said: str) -> bool:
    """Return whether a warning names a file, or says that files were left out."""
    return name in said or "left out" in said
