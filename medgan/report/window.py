"""Which values of an image are shown black and white."""

import numpy as np

_LUNG_WINDOW = (-1150.0, 350.0)  # HU: shows the lungs, and what lies between them is not yet white
_SOFT_TISSUE_WINDOW = (-160.0, 240.0)
_AIR_HU, _LUNG_HU = -900.0, -400.0


def is_ct(values: np.ndarray) -> bool:
    """Return whether an image is on the Hounsfield scale: it holds air and tissue."""
    return bool(values.min() <= _AIR_HU and values.max() >= _SOFT_TISSUE_WINDOW[0])


def window_of(values: np.ndarray, inside: np.ndarray, *, ct: bool) -> tuple[float, float]:
    """Return the values to show black and white.

    CT is shown in a lung or a soft tissue window, other images between percentiles.

    Args:
        values: finite, at least one, of any shape.
        inside: those of them that lie in organs; may be empty.
        ct: whether they are in HU, as `is_ct` tells.
    """
    if not ct:
        low, high = np.percentile(values, (1, 99.5))
        return float(low), float(max(high, low + 1e-6))
    has_lung = inside.size > 0 and np.percentile(inside, 25) < _LUNG_HU
    return _LUNG_WINDOW if has_lung else _SOFT_TISSUE_WINDOW
