"""Moving a network over a volume window by window, and blending what the windows say."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F

Triple = tuple[int, int, int]


def sliding_window_scores(
    image: torch.Tensor,
    network: Callable[[torch.Tensor], torch.Tensor],
    *,
    window: Triple,
    overlap: float,
    blending: Literal["gaussian", "constant"] = "gaussian",
    window_batch: int = 1,
    fill: float = 0.0,
) -> torch.Tensor:
    """Return the blended class probabilities of a volume, (num_classes, I, J, K) float32 on the image's device.

    Windows start at even steps of at most (1 - overlap) windows and end flush with the volume. Each voxel is the mean
    of the windows over it, weighted by `blending_weights`; so a constant stays the same constant up to the border.

    Args:
        image: (C, I, J, K). An axis shorter than the window is padded on both sides with `fill`.
        network: (B, C, *window) to probabilities (B, num_classes, *window).
        window: window size in voxels.
        overlap: fraction of a window that the next one covers again, 0 to under 1.
        blending: weights falling towards the window's border, or constant.
        window_batch: windows per call of `network`.
        fill: intensity outside the volume.
    """
    size = image.shape[1:]
    before = [max(0, w - n) // 2 for n, w in zip(size, window, strict=True)]
    after = [max(0, w - n) - b for n, w, b in zip(size, window, before, strict=True)]
    padding = [p for pair in reversed(list(zip(before, after, strict=True))) for p in pair]
    padded = F.pad(image, padding, value=fill)

    weights = blending_weights(window, blending, image.device)
    total: torch.Tensor | None = None
    weight_sum = torch.zeros(padded.shape[1:], device=image.device)
    for places in _batched(list(_places(tuple(padded.shape[1:]), window, overlap)), window_batch):
        batch = torch.stack([padded[(slice(None), *place)] for place in places])
        scores = network(batch).float()
        if total is None:
            total = torch.zeros((scores.shape[1], *padded.shape[1:]), device=image.device)
        for place, score in zip(places, scores, strict=True):
            total[(slice(None), *place)] += score * weights
            weight_sum[place] += weights
    assert total is not None  # every volume has at least one window
    inner = tuple(slice(b, b + n) for b, n in zip(before, size, strict=True))
    return total[(slice(None), *inner)] / weight_sum[inner]


def blending_weights(
    window: Triple, blending: Literal["gaussian", "constant"], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return the weight of each voxel of a window, (I, J, K), greatest 1 and positive everywhere.

    "gaussian" has a standard deviation of an eighth of the window along each axis, and at least a thousandth.
    """
    if blending == "constant":
        return torch.ones(window, device=device)
    weights = torch.ones((), device=device)
    for length in window:
        positions = torch.arange(length, device=device) - (length - 1) / 2
        weights = weights[..., None] * torch.exp(-0.5 * (positions / (length / 8)).square())
    return (weights / weights.max()).clamp(min=1e-3)


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Return where windows start along an axis of `length` >= `window`: evenly spread, first at 0, last flush."""
    step = max(1, int(window * (1.0 - overlap)))
    count = -(-(length - window) // step) + 1
    return [round(n * (length - window) / max(1, count - 1)) for n in range(count)]


def _places(shape: tuple[int, ...], window: Triple, overlap: float) -> Iterator[tuple[slice, ...]]:
    starts = [window_starts(n, w, overlap) for n, w in zip(shape, window, strict=True)]
    for corner in product(*starts):
        yield tuple(slice(start, start + w) for start, w in zip(corner, window, strict=True))


def _batched(items: list[tuple[slice, ...]], size: int) -> Iterator[list[tuple[slice, ...]]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
