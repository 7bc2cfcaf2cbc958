"""Intensities as the network sees them."""

import numpy as np


def apply_window(image: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Return `image` (C, I, J, K) clipped to `lower`..`upper` and mapped to -1..1, float32."""
    scaled = (image.astype(np.float32, copy=False) - lower) * (2.0 / (upper - lower)) - 1.0
    return np.clip(scaled, -1.0, 1.0, out=scaled)


def zscore(image: np.ndarray) -> np.ndarray:
    """Return `image` (C, I, J, K) with mean 0 and deviation 1 per channel, float32.

    A constant channel becomes 0, also one that is constant only up to float32 rounding, as after resampling.
    """
    image = image.astype(np.float32, copy=False)
    mean = image.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
    deviation = image.std(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
    varies = deviation > 1e-6 * np.abs(mean)
    return np.asarray((image - mean) * varies / np.where(varies, deviation, 1.0), dtype=np.float32)
