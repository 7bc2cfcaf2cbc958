"""What every reader checks: sizes before memory is taken, and that the voxels land somewhere in the patient."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.volume.volume import Volume

MAX_VOXELS = 2**29
"""The most voxels a file may claim unless the caller allows more: 2 GiB as float32, or 512 x 512 x 2048."""

_MOST_DEFLATE_EXPANDS = 1040  # zlib's own figure is 1032:1; a file that claims more than this lies


def check_num_voxels(path: Path | str, shape: Sequence[int], *, max_voxels: int) -> None:
    """Raise `MedganError` if a header claims more voxels than may be read."""
    if math.prod(shape) > max_voxels:
        raise MedganError(
            f"{path} must hold at most {max_voxels:,} voxels, but its header claims a size of "
            f"{'x'.join(str(n) for n in shape)}; if that is true, call read_volume with a larger max_voxels."
        )


def check_num_bytes(path: Path | str, *, claimed: int, available: int, is_compressed: bool = False) -> None:
    """Raise `MedganError` if a header claims more bytes than the file can hold, compressed or not."""
    if claimed > available * (_MOST_DEFLATE_EXPANDS if is_compressed else 1):
        kind = "compressed bytes" if is_compressed else "bytes"
        raise MedganError(
            f"{path} is truncated or its header is damaged: the size in the header calls for {claimed:,} bytes, "
            f"found {available:,} {kind}; copy or export it again."
        )


def volume_at(path: Path | str, data: np.ndarray, affine: np.ndarray) -> Volume:
    """Return the volume, or raise `MedganError` that names the file its affine came from."""
    try:
        return Volume(data, affine)
    except MedganError as error:
        raise MedganError(f"{path} has an unusable geometry: {error}") from error
