"""Intensity mappings against hand arithmetic."""

import numpy as np
import pytest

from medgan.preprocessing.intensity import apply_window, zscore


def channels(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, :, None, None]


def test_window_maps_its_ends_to_minus_one_and_one_and_clips() -> None:
    image = channels([-3000.0, -1000.0, -300.0, 50.0, 400.0, 3000.0])
    expected = channels([-1.0, -1.0, 0.0, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(apply_window(image, -1000.0, 400.0), expected, atol=1e-6)


def test_window_leaves_its_input_as_it_was() -> None:
    image = channels([-3000.0, 3000.0])
    apply_window(image, -1000.0, 400.0)
    assert image.ravel().tolist() == [-3000.0, 3000.0]


@pytest.mark.parametrize("dtype", [np.int16, np.float64])
def test_window_of_any_type_is_float32(dtype: type) -> None:
    mapped = apply_window(channels([-1000.0, 400.0]).astype(dtype), -1000.0, 400.0)
    assert mapped.dtype == np.float32
    assert mapped.ravel().tolist() == [-1.0, 1.0]


def test_zscore_is_by_hand_and_per_channel() -> None:
    # 2, 4, 4, 6 has mean 4 and deviation sqrt(2); the second channel is ten times the first
    expected = np.array([-1.0, 0.0, 0.0, 1.0]) * np.sqrt(2)
    standardised = zscore(channels([2.0, 4.0, 4.0, 6.0], [20.0, 40.0, 40.0, 60.0]))
    assert standardised.dtype == np.float32
    np.testing.assert_allclose(standardised[:, :, 0, 0], [expected, expected], atol=1e-6)


def test_zscore_keeps_small_contrast_on_a_large_offset() -> None:
    standardised = zscore(channels([10_000.0, 10_002.0, 10_000.0, 10_002.0]))
    np.testing.assert_allclose(standardised.ravel(), [-1, 1, -1, 1], atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1024.0, 3e30])
def test_constant_channel_becomes_zero(value: float) -> None:
    image = np.stack([np.full((5, 4, 3), value), np.arange(60.0).reshape(5, 4, 3)]).astype(np.float32)
    standardised = zscore(image)
    assert not standardised[0].any()
    assert standardised[1].std() == pytest.approx(1.0)


def test_rounding_of_a_constant_is_not_blown_up() -> None:
    constant = np.full((1, 4, 4, 4), 1000.1, np.float32)
    constant[0, ::2] = np.nextafter(np.float32(1000.1), np.float32(2000))
    assert not zscore(constant).any()
