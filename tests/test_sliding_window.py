"""Sliding windows against MONAI's and against arithmetic."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers.utils import sliding_window_inference
from torch import nn

from medgan.inference.sliding_window import blending_weights, sliding_window_scores, window_starts


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv3d(4, 3, 3, padding=1), nn.Softmax(dim=1))


def identity(windows: torch.Tensor) -> torch.Tensor:
    return windows


@torch.no_grad()
@pytest.mark.parametrize("blending", ["gaussian", "constant"])
@pytest.mark.parametrize(
    ("shape", "window", "overlap"),
    [
        ((15, 15, 15), (9, 9, 9), 0.66),  # odd windows: their greatest weight is 1, as in MONAI
        ((9, 9, 9), (9, 9, 9), 0.5),
        ((21, 11, 9), (11, 11, 9), 0.5),
        ((13, 13, 1), (7, 7, 1), 0.5),
    ],
)
def test_scores_equal_those_of_monai_where_windows_coincide(
    shape: tuple[int, int, int], window: tuple[int, int, int], overlap: float, blending: str
) -> None:
    torch.manual_seed(1)
    image, network = torch.randn(1, *shape), small_network()
    theirs = sliding_window_inference(
        image[None], window, 1, network, overlap=overlap, mode=blending, sigma_scale=0.125, padding_mode="constant"
    )
    ours = sliding_window_scores(image, network, window=window, overlap=overlap, blending=blending)  # type: ignore[arg-type]
    assert ours.shape == (3, *shape)
    assert (ours - theirs[0]).abs().max() < 1e-5


@torch.no_grad()
def test_volume_smaller_than_the_window_equals_monais() -> None:
    torch.manual_seed(1)
    image, network = torch.randn(1, 5, 12, 3), small_network()
    theirs = sliding_window_inference(image[None], (9, 9, 9), 1, network, overlap=0.66, mode="gaussian", cval=-1.0)
    ours = sliding_window_scores(image, network, window=(9, 9, 9), overlap=0.66, fill=-1.0)
    assert (ours - theirs[0]).abs().max() < 1e-5


@pytest.mark.parametrize("blending", ["gaussian", "constant"])
@pytest.mark.parametrize("shape", [(20, 17, 9), (5, 30, 8), (3, 3, 1), (8, 8, 8)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.9])
def test_constant_windows_blend_to_the_same_constant_up_to_the_border(
    shape: tuple[int, int, int], overlap: float, blending: str
) -> None:
    def constant(windows: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1, 1).expand(len(windows), 2, 8, 8, 8)

    options = {"window": (8, 8, 8), "overlap": overlap, "blending": blending}
    scores = sliding_window_scores(torch.zeros(1, *shape), constant, **options)  # type: ignore[arg-type]
    assert scores.shape == (2, *shape)
    assert torch.allclose(scores[0], torch.tensor(0.25), atol=1e-6)
    assert torch.allclose(scores[1], torch.tensor(0.75), atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 17, 9), (5, 30, 8), (3, 3, 1), (31, 4, 4)])
def test_network_that_gives_its_input_gives_the_image(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(2)
    image = torch.randn(2, *shape)
    scores = sliding_window_scores(image, identity, window=(8, 6, 4), overlap=0.5, fill=7.0)
    assert torch.allclose(scores, image, atol=1e-5)


def test_windows_per_call_do_not_change_the_scores() -> None:
    torch.manual_seed(3)
    image, sizes = torch.randn(1, 20, 9, 9), []

    def network(windows: torch.Tensor) -> torch.Tensor:
        sizes.append(len(windows))
        return windows * 2

    options = {"window": (8, 8, 8), "overlap": 0.5}
    one, three = (
        sliding_window_scores(image, network, window_batch=n, **options)  # type: ignore[arg-type]
        for n in (1, 3)
    )
    assert torch.equal(one, three)
    assert sizes == [1] * 16 + [3] * 5 + [1]


def test_padding_is_the_fill_on_both_sides() -> None:
    seen = []

    def network(windows: torch.Tensor) -> torch.Tensor:
        seen.append(windows)
        return windows

    sliding_window_scores(torch.ones(1, 1, 1, 2), network, window=(4, 3, 2), overlap=0.5, fill=-5.0)
    (window,) = seen
    assert window[0, 0, :, 1, 0].tolist() == [-5.0, 1.0, -5.0, -5.0]
    assert window[0, 0, 1, :, 1].tolist() == [-5.0, 1.0, -5.0]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 200), st.integers(1, 64), st.floats(0.0, 0.99))
def test_windows_cover_every_voxel_at_steps_no_longer_than_asked_for(length: int, window: int, overlap: float) -> None:
    length = max(length, window)
    starts = window_starts(length, window, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - window
    steps = [after - before for before, after in itertools.pairwise(starts)]
    assert all(1 <= step <= max(1, int(window * (1 - overlap))) for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"),
    [
        (8, 8, 0.5, [0]),
        (9, 8, 0.0, [0, 1]),
        (16, 8, 0.5, [0, 4, 8]),
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 4, 0.0, [0, 4, 7]),
    ],
)
def test_window_starts_by_hand(length: int, window: int, overlap: float, expected: list[int]) -> None:
    assert window_starts(length, window, overlap) == expected


def test_gaussian_weights_by_hand() -> None:
    weights = blending_weights((9, 1, 17), "gaussian")
    assert weights.shape == (9, 1, 17)
    assert weights[4, 0, 8] == 1.0
    at_one_deviation = blending_weights((17, 1, 1), "gaussian")[8 + 2, 0, 0]  # deviation 17 / 8 voxels
    assert at_one_deviation.item() == pytest.approx(2.718281828 ** (-0.5 * (2 / (17 / 8)) ** 2))
    assert weights.min() == pytest.approx(1e-3)
    assert torch.allclose(weights, weights.flip(0, 1, 2))
    assert torch.equal(blending_weights((2, 3, 4), "constant"), torch.ones(2, 3, 4))
