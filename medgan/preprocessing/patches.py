"""Cutting patches out of prepared volumes."""

import numpy as np
import torch
import torch.nn.functional as F


def choose_centre(
    shape: tuple[int, ...],
    size: tuple[int, int, int],
    voxels_of_class: dict[int, np.ndarray],
    rng: np.random.Generator,
    *,
    foreground_fraction: float,
) -> np.ndarray:
    """Return the centre of a random patch, (3,) in voxels of the volume.

    With probability `foreground_fraction` it is a voxel of an organ, each organ present equally often; else anywhere.
    Where the volume is as large as the patch or larger, the patch stays inside; along a smaller axis it is centred, as
    far as whole voxels allow: patch voxels always lie on volume voxels, so that a patch that is not turned is not
    interpolated.

    Args:
        shape: (I, J, K) of the volume.
        size: patch size.
        voxels_of_class: for each organ class present, (N, 3) voxels of it.
        rng: the only source of randomness.
        foreground_fraction: probability of a patch centred on an organ.
    """
    wants_organ = rng.random() < foreground_fraction
    anywhere = rng.random(3) * np.array(shape) - 0.5
    if wants_organ and voxels_of_class:
        voxels = voxels_of_class[sorted(voxels_of_class)[rng.integers(len(voxels_of_class))]]
        anywhere = voxels[rng.integers(len(voxels))].astype(float)
    lowest = (np.array(size) - 1) / 2
    room = np.array(shape) - np.array(size)
    inside = np.rint(np.clip(anywhere - lowest, 0, np.maximum(room, 0)))
    start = np.where(room >= 0, inside, np.ceil(room / 2))
    return np.asarray(start + lowest)


def cut(data: np.ndarray, centre: np.ndarray, size: tuple[int, int, int], *, fill: float) -> np.ndarray:
    """Return the patch (C, *size) of `data` (C, I, J, K) about `centre`; voxels outside the volume are `fill`."""
    starts = np.rint(centre - (np.array(size) - 1) / 2).astype(int)
    patch = np.full((data.shape[0], *size), fill, dtype=data.dtype)
    target, source = [slice(None)], [slice(None)]
    for start, length, extent in zip(starts, size, data.shape[1:], strict=True):
        first, last = max(0, start), min(extent, start + length)
        target.append(slice(first - start, max(first, last) - start))
        source.append(slice(first, max(first, last)))
    patch[tuple(target)] = data[tuple(source)]
    return patch


def warp(
    image: np.ndarray, classes: np.ndarray, centre: np.ndarray, offsets: np.ndarray, *, fill: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return image and class patches taken at `centre + offsets`: linear for the image, nearest for the classes.

    Args:
        image: (C, I, J, K) prepared image.
        classes: (I, J, K) class indices.
        centre: (3,) patch centre in voxels.
        offsets: (i, j, k, 3) position of each patch voxel from the centre, in voxels.
        fill: image value outside the volume; classes are 0 there.
    """
    reach = np.abs(offsets).reshape(-1, 3).max(axis=0)
    half = np.ceil(reach).astype(int) + 1
    middle = np.rint(centre).astype(int)
    size = tuple(int(2 * h + 1) for h in half)
    block = (size[0], size[1], size[2])
    grid = (offsets + (centre - middle).astype(np.float32)) / half.astype(np.float32)
    grid_kji = torch.from_numpy(np.ascontiguousarray(grid[..., ::-1]))[None]
    image_block = torch.from_numpy(cut(image, middle, block, fill=fill))[None]
    class_block = torch.from_numpy(cut(classes[None].astype(np.float32), middle, block, fill=0))[None]
    moved = F.grid_sample(image_block, grid_kji, mode="bilinear", padding_mode="border", align_corners=True)
    labels = F.grid_sample(class_block, grid_kji, mode="nearest", padding_mode="border", align_corners=True)
    return moved[0].numpy(), labels[0, 0].numpy().astype(classes.dtype)
