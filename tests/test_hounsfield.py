"""What the values of an image look like."""

from collections.abc import Callable

import numpy as np
import pytest
from phantoms import SHARED

from medgan.inspection.hounsfield import PERCENTS, intensity_of
from medgan.volume.readers import read_volume

TOTAL = SHARED / "data" / "totalsegmentator_ct"


@pytest.fixture
def thorax() -> np.ndarray:
    """HU as in a chest scan: a third each of air, lung and soft tissue, and some bone."""
    rng = np.random.default_rng(0)
    means = rng.choice([-1000.0, -800.0, 40.0, 700.0], p=[0.32, 0.32, 0.33, 0.03], size=(32, 32, 32))
    return np.asarray(np.rint(means + rng.normal(0, 20, means.shape)))


@pytest.mark.parametrize(
    ("change", "scale", "words"),
    [
        (lambda hu: hu, "hu", "looks like HU"),
        (lambda hu: np.where(hu < -1040, -3024, hu), "hu", "looks like HU"),
        (lambda hu: hu + 1024, "hu_shifted", "by about +1024"),
        (lambda hu: hu - 1024, "hu_shifted", "by about -1024"),
        (lambda hu: hu * 2, "other", "does not look like HU"),
        (lambda hu: hu / 10, "other", "does not look like HU"),
        (lambda hu: (hu.clip(-1000, 400) + 1000) / 1400, "unit", "looks like scaled, not HU"),
        (lambda hu: (hu.clip(-1000, 400) + 1000) / 1400 * 255, "8_bit", "looks like 8-bit grey values, not HU"),
        (lambda hu: (hu - hu.mean()) / hu.std(), "zscore", "looks like normalised"),
        (lambda hu: hu * 0 - 1000, "constant", "is the same everywhere"),
        (lambda hu: hu.clip(-1000, 400), "hu", "looks like HU, cut off above 400"),
        (lambda hu: hu.clip(-160, 240), "hu", "looks like HU, cut off below -160 and above 240"),
        (np.abs, "other", "does not look like HU"),
    ],
)
def test_scale_is_told_apart(
    thorax: np.ndarray, change: Callable[[np.ndarray], np.ndarray], scale: str, words: str
) -> None:
    intensity = intensity_of(change(thorax))
    assert intensity.scale == scale
    assert words in intensity.describe()


def test_minimum_maximum_and_percentiles_are_those_of_the_values() -> None:
    intensity = intensity_of(np.arange(101.0).reshape(1, 101))
    assert (intensity.minimum, intensity.maximum) == (0.0, 100.0)
    assert intensity.percentiles == pytest.approx(PERCENTS)


def test_percentiles_of_a_large_image_are_close() -> None:
    values = np.random.default_rng(1).normal(0, 1, (4, 2**20))
    assert intensity_of(values).percentiles == pytest.approx(np.percentile(values, PERCENTS), abs=0.02)


@pytest.mark.skipif(not TOTAL.is_dir(), reason="shared CT and MR data not present")
@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("example_ct_sm.nii.gz", "hu"),
        ("example_ct_dicom", "hu"),
        ("pulmonary_report/models/ct_cropped.nii.gz", "hu"),
        ("example_mr_sm.nii.gz", "other"),
    ],
)
def test_real_ct_looks_like_hu_and_real_mr_does_not(name: str, scale: str) -> None:
    assert intensity_of(read_volume(TOTAL / name).data).scale == scale
