"""Label volumes from one set of values into another, fast and without large intermediate arrays."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

_LARGEST_TABLE = 65535  # values beyond are looked for one by one
_PART_VOXELS = 1 << 15


def translate(values: np.ndarray, table: Mapping[int, int], *, others: int | None = None) -> np.ndarray | None:
    """Return what each value stands for, in the smallest unsigned type; None if one stands for nothing.

    Args:
        values: whole numbers, any shape.
        table: what a value stands for, 0 or more.
        others: what values that are not in the table stand for; None is nothing.
    """
    known = np.array(sorted(table))
    meanings = np.array([table[value] for value in known.tolist()])
    unknown = -1 if others is None else others
    lookup: Callable[[np.ndarray], np.ndarray] = partial(_looked_up, known, meanings, unknown)
    largest = int(values.max(initial=0))
    if values.min(initial=0) >= 0 and largest <= _LARGEST_TABLE:
        by_value = np.full(largest + 1, unknown)
        by_value[known[known <= largest]] = meanings[known <= largest]
        lookup = by_value.__getitem__
    translated = np.empty_like(values, dtype=smallest_type(int(meanings.max())))
    return translated if fill_in_parts(translated, values, lookup) else None


def fill_in_parts(target: np.ndarray, source: np.ndarray, lookup: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Set `target` to what `lookup` gives for `source`; return False as soon as that is below 0.

    In parts that stay in the cache: numpy makes 8 bytes of every voxel that indexes a table.
    """
    with np.nditer(
        [target, source],
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["writeonly"], ["readonly"]],
        op_dtypes=[target.dtype, np.dtype(np.intp)],
        casting="same_kind",
        buffersize=_PART_VOXELS,
    ) as parts:
        for part, indices in parts:
            found = lookup(indices)
            if found.min(initial=0) < 0:
                return False
            part[...] = found
    return True


def smallest_type(largest: int) -> type[np.uint8] | type[np.uint16] | type[np.uint32]:
    """Return the smallest unsigned type that holds a value."""
    return np.uint8 if largest <= 255 else np.uint16 if largest <= 65535 else np.uint32


def _looked_up(known: np.ndarray, meanings: np.ndarray, unknown: int, values: np.ndarray) -> np.ndarray:
    """Return the meaning of each value, `known` being sorted."""
    places = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[places] == values, meanings[places], unknown)
