"""What the values of an image look like: Hounsfield units (HU), HU gone wrong, scaled, or another scale."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Scale = Literal["hu", "hu_shifted", "unit", "8_bit", "zscore", "constant", "other"]

SCALES: dict[Scale, str] = {
    "hu": "looks like HU",
    "hu_shifted": "looks like HU shifted, as if the rescale intercept had been left out or applied twice",
    "unit": "looks like scaled, not HU: everything lies between -1 and 1",
    "8_bit": "looks like 8-bit grey values, not HU",
    "zscore": "looks like normalised (mean 0, deviation 1), not HU",
    "constant": "is the same everywhere",
    "other": "does not look like HU",
}
"""What an image is said to be like."""

PERCENTS = (1, 5, 25, 50, 75, 95, 99)
_SAMPLE = 2**20
_SHIFTS_HU = (1024.0, -1024.0)


@dataclass(frozen=True)
class Intensity:
    """The values of one channel.

    Attributes:
        minimum: smallest value.
        maximum: largest value.
        percentiles: the values below which `PERCENTS` percent lie, of at most a million voxels drawn at random.
        scale: what they look like.
        shift_hu: for "hu_shifted", by about how much.
        clipped_low: everything below was cut off here, if so.
        clipped_high: everything above was cut off here, if so.
    """

    minimum: float
    maximum: float
    percentiles: tuple[float, ...]
    scale: Scale
    shift_hu: float | None = None
    clipped_low: float | None = None
    clipped_high: float | None = None

    def describe(self) -> str:
        """Return what the values look like, in words."""
        if self.scale == "hu_shifted":
            return f"{SCALES['hu_shifted']}, by about {self.shift_hu:+g}"
        cuts = [f"below {self.clipped_low:g}"] if self.clipped_low is not None else []
        cuts += [f"above {self.clipped_high:g}"] if self.clipped_high is not None else []
        return SCALES[self.scale] + (f", cut off {' and '.join(cuts)}" if cuts else "")


def intensity_of(values: np.ndarray) -> Intensity:
    """Return what finite values, in any shape, look like."""
    low, high = float(values.min()), float(values.max())
    sample = sample_of(values)
    scale, shift = _scale_of(sample, low, high)
    is_hu = scale == "hu"
    return Intensity(
        minimum=low,
        maximum=high,
        percentiles=tuple(np.percentile(sample, PERCENTS).tolist()),
        scale=scale,
        shift_hu=shift,
        clipped_low=low if is_hu and low > -900 and _piles_up(-sample, -low) else None,
        clipped_high=high if is_hu and _piles_up(sample, high) else None,
    )


def sample_of(values: np.ndarray) -> np.ndarray:
    """Return at most a million values as float64; a regular stride could fall on one column of the image alone."""
    flat = values.ravel(order="K")
    if flat.size > _SAMPLE:
        flat = flat[np.random.default_rng(0).integers(0, flat.size, _SAMPLE)]
    return flat.astype(np.float64)


def _scale_of(sample: np.ndarray, low: float, high: float) -> tuple[Scale, float | None]:
    shift = next((s for s in _SHIFTS_HU if _looks_like_hu(sample - s, low - s) and _has_two_peaks(sample - s)), None)
    claims: list[tuple[Scale, bool]] = [  # the first that holds counts
        ("constant", low == high),
        ("unit", max(-low, high) <= 1),
        ("hu", _looks_like_hu(sample, low)),
        ("hu_shifted", shift is not None),
        ("zscore", abs(sample.mean()) < 0.1 and 0.8 < sample.std() < 1.2),
        ("8_bit", low >= 0 and high <= 255),
    ]
    scale: Scale = next((scale for scale, holds in claims if holds), "other")
    return scale, shift if scale == "hu_shifted" else None


def _looks_like_hu(sample: np.ndarray, low: float) -> bool:
    """Some air, lung or fat, soft tissue about water, and nothing far below air but one padding value."""
    if not -4096 <= low <= -150 or _share(sample, -1100, -100) < 0.001 or _share(sample, -150, 200) < 0.02:
        return False
    below_air = sample[sample < -1500]
    return bool(below_air.size < 0.01 * sample.size or below_air.std() < 20)


def _has_two_peaks(sample: np.ndarray) -> bool:
    """Air and soft tissue stand out and little lies between; many an MR image has soft tissue's values, not this."""
    air, between, tissue = (_share(sample, *edges) for edges in ((-1100, -900), (-500, -200), (-150, 150)))
    return air > 0.05 and tissue > 0.05 and between < 0.5 * min(air, tissue)


def _piles_up(sample: np.ndarray, high: float) -> bool:
    """Return whether the largest value is far more frequent than those just below it."""
    at_top = np.count_nonzero(sample == high)
    near_top = np.count_nonzero(sample >= high - 0.02 * (high - sample.min())) - at_top
    return bool(at_top > 0.001 * sample.size and at_top > 3 * near_top)


def _share(sample: np.ndarray, low: float, high: float) -> float:
    return float(np.count_nonzero((sample >= low) & (sample <= high)) / sample.size)
