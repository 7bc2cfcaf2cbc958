"""A generator ready to run."""

import pytest
import torch
from small_networks import LABELS, SIZE, small_generator
from torch import nn

from medgan.errors import MedganError
from medgan.inference.engine import TorchEngine

CPU = torch.device("cpu")


class Sided(nn.Module):
    """Says left lung (class 1) in the first half of I and right lung (class 2) in the other, as sure as the image."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        half = image.shape[2] // 2
        logits = torch.zeros(len(image), 4, *image.shape[2:])
        logits[:, 1, :half], logits[:, 2, half:] = image[:, 0, :half], image[:, 0, half:]
        return [logits]


def engine_of(generator: nn.Module, **options: object) -> TorchEngine:
    settings = {"device": CPU, "dtype": torch.float32, **options}
    return TorchEngine(generator, **settings)  # type: ignore[arg-type]


def test_scores_are_the_softmax_of_the_full_size_logits() -> None:
    generator, windows = small_generator(), torch.randn(2, 1, *SIZE)
    scores = engine_of(generator)(windows)
    with torch.no_grad():
        expected = generator(windows)[0].softmax(dim=1)
    assert torch.allclose(scores, expected, atol=1e-6)
    assert torch.allclose(scores.sum(dim=1), torch.ones(2, *SIZE), atol=1e-6)
    assert not scores.requires_grad


def test_engine_evaluates_whatever_state_the_generator_was_in() -> None:
    generator = nn.Sequential(nn.Dropout3d(1.0)).train()
    generator.forward = lambda image: [nn.Sequential.forward(generator, image)]  # type: ignore[method-assign]
    assert not generator.eval().training
    assert torch.isfinite(engine_of(generator.train())(torch.ones(1, 2, 2, 2, 2))).all()
    assert not generator.training


def test_bf16_scores_are_close_and_come_as_float32() -> None:
    generator, windows = small_generator(), torch.randn(1, 1, *SIZE)
    exact, rounded = (engine_of(generator, dtype=dtype)(windows) for dtype in (torch.float32, torch.bfloat16))
    assert rounded.dtype is torch.float32
    assert 0.0 < (exact - rounded).abs().max() < 0.05


def test_mirror_average_swaps_partners_back() -> None:
    """A network that knows sides gives each lung the mean of both sides' certainty, on its own side."""
    torch.manual_seed(0)
    windows = torch.rand(1, 1, 4, 3, 2)
    plain = engine_of(Sided())
    averaged = engine_of(Sided(), mirrored_classes=LABELS.mirrored_classes)(windows)
    own, mirrored = plain(windows), plain(windows.flip(2)).flip(2)
    assert torch.allclose(averaged[:, 1], (own[:, 1] + mirrored[:, 2]) / 2)
    assert torch.allclose(averaged[:, 3], (own[:, 3] + mirrored[:, 3]) / 2)
    assert (averaged[:, 1, :2] > averaged[:, 2, :2]).all()
    assert torch.allclose(averaged.sum(dim=1), torch.ones(1, 4, 3, 2))


def test_symmetric_network_is_not_changed_by_the_mirror() -> None:
    def symmetric(image: torch.Tensor) -> list[torch.Tensor]:
        return [torch.cat([image, -image], dim=1)]

    generator = nn.Module()
    generator.forward = symmetric
    windows = torch.randn(1, 1, 5, 4, 3)
    once, twice = (engine_of(generator, mirrored_classes=m)(windows) for m in (None, (0, 1)))
    assert torch.allclose(once, twice)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(value: float) -> None:
    generator = nn.Module()
    generator.forward = lambda image: [image]
    windows = torch.zeros(1, 2, 2, 2, 2)
    windows[0, 1, 0, 0, 0] = value
    with pytest.raises(MedganError, match=r"scores are not finite; use inference\.precision=fp32 or train again"):
        engine_of(generator)(windows)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_cuda_gives_the_scores_of_the_cpu(dtype: torch.dtype) -> None:
    generator, windows = small_generator(), torch.randn(2, 1, *SIZE)
    expected = engine_of(generator)(windows)
    scores = engine_of(generator, device=torch.device("cuda"), dtype=dtype)(windows)
    assert (scores.cpu() - expected).abs().max() < (1e-3 if dtype is torch.float32 else 0.05)
