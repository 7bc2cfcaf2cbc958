"""The training loop: what one step does, and that stopping changes nothing."""

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_networks import (
    ADVERSARY,
    DEEP,
    LABELS,
    SLICEWISE,
    small_adversary,
    small_case,
    small_generator,
    small_patches,
    small_training,
)
from torch import nn

from medgan.config import Config, TrainingConfig, parse_config
from medgan.errors import MedganError
from medgan.preprocessing.dataset import PatchDataset
from medgan.training import loop
from medgan.training.adversary import Adversary
from medgan.training.checkpoint import load_state
from medgan.training.loop import STATE_FILE, FitResult, fit
from medgan.training.schedule import Clock, ema_decay_at, learning_rate_factor

WEIGHTS = ("generator.safetensors", "generator_last.safetensors", "discriminator.safetensors")


def train(
    folder: Path,
    *,
    config: TrainingConfig | None = None,
    generator: nn.Module | None = None,
    adversary: Adversary | None = None,
    patches: PatchDataset | None = None,
    **options: Any,
) -> FitResult:
    """Fit a small generator, by default without an adversary."""
    return fit(
        generator or small_generator(),
        adversary,
        patches or small_patches(),
        config=config or small_training(),
        folder=folder,
        fingerprint=options.pop("fingerprint", "settings"),
        **options,
    )


def steps_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def stop_after(step: int) -> Callable[[int, float], None]:
    def on_step(done: int, progress: float) -> None:
        if done == step:
            raise KeyboardInterrupt

    return on_step


def equal_trees(a: Any, b: Any) -> bool:
    """Return whether nested dicts, lists and tensors are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal_trees(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal_trees, a, b))
    return bool(a == b or (a != a and b != b))


@pytest.mark.parametrize(("precision", "workers"), [("fp32", 0), ("bf16", 0), ("fp32", 1)])
def test_stop_and_resume_equals_never_stopping(tmp_path: Path, precision: str, workers: int) -> None:
    """After step 3 the state is kept, at step 5 the training dies; the rest starts from other random weights."""
    config = small_training(precision=precision, num_workers=workers)
    train(tmp_path / "straight", config=config, adversary=small_adversary())
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", config=config, adversary=small_adversary(), on_step=stop_after(5))
    assert load_state(tmp_path / "stopped" / STATE_FILE)["step"] == 3
    generator, adversary = small_generator(seed=7), small_adversary(seed=8)
    result = train(tmp_path / "stopped", config=config, generator=generator, adversary=adversary, resume=True)

    assert result.step == 6
    for name in WEIGHTS:
        straight, resumed = (load_file(tmp_path / folder / name) for folder in ("straight", "stopped"))
        assert equal_trees(straight, resumed), name
    states = [load_state(tmp_path / folder / STATE_FILE) for folder in ("straight", "stopped")]
    for state in states:
        del state["elapsed_s"]
    assert equal_trees(*states)
    assert steps_of(tmp_path / "straight") == steps_of(tmp_path / "stopped")


def test_best_score_survives_a_resume(tmp_path: Path) -> None:
    config = small_training(validate_every=1)
    scores = iter([0.2, 0.9, 0.3, 0.4, 0.5, 0.6, 0.7])
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, config=config, validate=lambda network: next(scores), on_step=stop_after(4))
    result = train(tmp_path, config=config, validate=lambda network: next(scores), resume=True)
    assert (result.best_step, result.best_score) == (2, 0.9)


def test_resume_of_a_finished_training_changes_nothing(tmp_path: Path) -> None:
    train(tmp_path, adversary=small_adversary())
    before = [(tmp_path / name).read_bytes() for name in (*WEIGHTS, STATE_FILE)]
    result = train(tmp_path, generator=small_generator(seed=3), adversary=small_adversary(seed=4), resume=True)
    assert result.step == 6
    assert [(tmp_path / name).read_bytes() for name in (*WEIGHTS, STATE_FILE)] == before


def test_resume_with_other_settings_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(MedganError, match=r"state\.pt: was written with other data or settings"):
        train(tmp_path, fingerprint="others", resume=True)


def test_resume_needs_a_state(tmp_path: Path) -> None:
    with pytest.raises(MedganError, match="there is no training to resume"):
        train(tmp_path, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_one_generator_forward_serves_both_updates(tmp_path: Path) -> None:
    generator, adversary = small_generator(), small_adversary()
    forwards: list[int] = []
    generator.register_forward_hook(lambda *arguments: forwards.append(1))
    before = [weight.detach().clone() for weight in (*generator.parameters(), *adversary.discriminator.parameters())]
    train(tmp_path, generator=generator, adversary=adversary)
    assert len(forwards) == 6
    after = (*generator.parameters(), *adversary.discriminator.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_generator_update_is_that_of_its_own_loss(tmp_path: Path) -> None:
    """One SGD step by hand: in the warm-up the discriminator's loss adds nothing to the generator's gradient."""
    config = small_training(optimizer="sgd", max_steps=1, learning_rate=0.1, weight_decay=0, gradient_clip=1e9)
    adversary = small_adversary(ADVERSARY.model_copy(update={"warmup_fraction": 0.5}))
    trained, by_hand, patches = small_generator(), small_generator(), small_patches()
    train(tmp_path, config=config, generator=trained, adversary=adversary, patches=patches)

    batch = [patches[0], patches[1]]
    image, classes = (torch.stack([patch[key] for patch in batch]) for key in ("image", "classes"))
    loop.SupervisedLoss()(by_hand(image), classes).backward()
    for a, b in zip(trained.parameters(), by_hand.parameters(), strict=True):
        step = 0.1 * (1 + 0.99) * b.grad  # Nesterov's first step
        assert torch.allclose(a, b - step, atol=1e-6)


def test_average_by_hand(tmp_path: Path) -> None:
    generator = small_generator()
    course = [[weight.detach().clone() for weight in generator.parameters()]]

    def keep(step: int, progress: float) -> None:
        course.append([weight.detach().clone() for weight in generator.parameters()])

    train(tmp_path, config=small_training(max_steps=3, ema_decay=0.15), generator=generator, on_step=keep)
    average = course[0]
    for step, weights in enumerate(course[1:]):
        decay = ema_decay_at(step, 0.15)
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    saved = load_file(tmp_path / "generator_last.safetensors")
    for (name, _), expected in zip(generator.named_parameters(), average, strict=True):
        assert torch.allclose(saved[name], expected, atol=1e-6), name


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_both_learning_rates_follow_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    rates: list[tuple[float, float]] = []
    step = loop._step

    def spy(run: Any, *arguments: Any, **options: Any) -> dict[str, float]:
        optimizers = run.generator_optimizer, run.discriminator_optimizer
        rates.append(tuple(optimizer.param_groups[0]["lr"] for optimizer in optimizers))  # type: ignore[arg-type]
        return step(run, *arguments, **options)

    monkeypatch.setattr(loop, "_step", spy)
    config = small_training(max_steps=4, schedule=schedule, learning_rate=0.01)
    settings = ADVERSARY.model_copy(update={"learning_rate": 0.002})
    train(tmp_path, config=config, adversary=small_adversary(settings))
    factors = [learning_rate_factor(n / 4, schedule) for n in range(4)]  # type: ignore[arg-type]
    assert [rate for rate, _ in rates] == pytest.approx([0.01 * factor for factor in factors])
    assert [rate for _, rate in rates] == pytest.approx([0.002 * factor for factor in factors])


@pytest.mark.parametrize("has_adversary", [False, True])
def test_loss_that_is_not_finite_stops_with_step_and_case(tmp_path: Path, has_adversary: bool) -> None:
    patches = small_patches(small_case("case_a"), small_case("case_b", is_nan=True))
    order = [patches[n]["case_id"] for n in range(4)]
    step = order.index("case_b") + 1
    name = "discriminator" if has_adversary else "generator"
    with pytest.raises(MedganError, match=rf"^step {step}: the {name} loss is nan for cases case_b; look at these"):
        train(
            tmp_path,
            config=small_training(batch_size=1, checkpoint_every=1),
            adversary=small_adversary() if has_adversary else None,
            patches=patches,
        )
    assert not (tmp_path / "generator.safetensors").exists()
    assert (tmp_path / STATE_FILE).exists() == (step > 1)


class Root(nn.Module):
    """A generator with a finite loss, whose gradient is not: the square root of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [image + self.weight.sqrt().reshape(1, 4, 1, 1, 1)]


def test_gradient_that_is_not_finite_stops_before_it_spoils_the_weights(tmp_path: Path) -> None:
    with pytest.raises(MedganError, match=r"^step 1: the generator gradient is (inf|nan) for cases case_0"):
        train(tmp_path, config=small_training(max_steps=1), generator=Root())
    assert not (tmp_path / "generator.safetensors").exists()


class FakeTime:
    """Seconds that pass as a test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    clock = FakeTime()
    monkeypatch.setattr(loop, "Clock", functools.partial(Clock, now=clock))
    return clock


def test_time_limit_ends_the_run_and_its_schedule(tmp_path: Path, fake_time: FakeTime) -> None:
    seen = []

    def on_step(step: int, progress: float) -> None:
        seen.append(progress)
        fake_time.now += 25.0  # noticed at the next step

    config = small_training(max_steps=1000, max_minutes=1.0, checkpoint_every=1000)
    result = train(tmp_path, config=config, on_step=on_step, validate=lambda network: 0.5)
    assert seen == pytest.approx([0.001, 25 / 60, 50 / 60, 1.0])
    assert result.step == 4
    assert result.seconds == 100.0
    assert load_state(tmp_path / STATE_FILE)["step"] == 4
    assert steps_of(tmp_path)[-1] == {"step": 4, "validation_dice": 0.5}


def test_validation_counts_towards_the_time_limit(tmp_path: Path, fake_time: FakeTime) -> None:
    def validate(network: nn.Module) -> float:
        fake_time.now += 90.0
        return 0.5

    config = small_training(max_steps=1000, max_minutes=1.0, validate_every=2)
    assert train(tmp_path, config=config, validate=validate).step == 2
    assert load_state(tmp_path / STATE_FILE)["step"] == 2


def test_time_spent_before_a_resume_counts(tmp_path: Path, fake_time: FakeTime) -> None:
    def tick(step: int, progress: float) -> None:
        fake_time.now += 10.0
        if step == 4:
            raise KeyboardInterrupt

    config = small_training(max_steps=1000, max_minutes=1.0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, config=config, on_step=tick)
    fake_time.now = 0.0
    assert load_state(tmp_path / STATE_FILE)["elapsed_s"] == 30.0
    assert train(tmp_path, config=config, on_step=tick_of(fake_time), resume=True).step == 7


def tick_of(fake_time: FakeTime) -> Callable[[int, float], None]:
    def tick(step: int, progress: float) -> None:
        fake_time.now += 10.0

    return tick


def test_generator_that_validates_best_is_kept(tmp_path: Path) -> None:
    scores, seen = iter([0.5, 0.8, 0.6]), []

    def validate(network: nn.Module) -> float:
        assert not network.training
        seen.append({name: weight.clone() for name, weight in network.state_dict().items()})
        return next(scores)

    result = train(tmp_path, config=small_training(validate_every=2), validate=validate)
    assert (result.best_step, result.best_score) == (4, 0.8)
    assert equal_trees(load_file(tmp_path / "generator.safetensors"), seen[1])
    assert equal_trees(load_file(tmp_path / "generator_last.safetensors"), seen[2])
    dices = [line["validation_dice"] for line in steps_of(tmp_path) if "validation_dice" in line]
    assert dices == [0.5, 0.8, 0.6]


def test_score_that_is_not_defined_does_not_replace_one_that_is(tmp_path: Path) -> None:
    scores = iter([math.nan, 0.8, math.nan])
    result = train(tmp_path, config=small_training(validate_every=2), validate=lambda network: next(scores))
    assert (result.best_step, result.best_score) == (4, 0.8)


def test_last_average_is_kept_where_nothing_was_validated(tmp_path: Path) -> None:
    result = train(tmp_path)
    assert result.best_step == 6
    assert math.isnan(result.best_score)
    assert (tmp_path / WEIGHTS[0]).read_bytes() == (tmp_path / WEIGHTS[1]).read_bytes()
    assert not (tmp_path / WEIGHTS[2]).exists()


class Images:
    """Keeps the images a generator is trained on."""

    def __init__(self, generator: nn.Module) -> None:
        self.seen: list[torch.Tensor] = []
        generator.register_forward_hook(lambda module, inputs, output: self.seen.append(inputs[0].clone()))


def test_training_without_an_adversary_sees_the_same_patches(tmp_path: Path) -> None:
    seen = []
    for adversary in (None, small_adversary()):
        generator = small_generator()
        images = Images(generator)
        train(tmp_path / str(len(seen)), generator=generator, adversary=adversary)
        seen.append(images.seen)
    assert equal_trees(*seen)
    assert len(seen[0]) == 6


def test_training_without_an_adversary_starts_from_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medgan import experiment
    from medgan.progress import silent

    started: list[dict[str, torch.Tensor]] = []

    def keep(generator: nn.Module, *arguments: Any, **options: Any) -> FitResult:
        started.append(generator.state_dict())
        return FitResult(0, 0, math.nan, 0.0)

    monkeypatch.setattr(experiment, "fit", keep)
    for enabled in (True, False):
        torch.rand(3)  # whatever was drawn before
        config = small_experiment({"enabled": enabled, "channels": 4})
        arguments = {"folder": tmp_path, "cases": [], "resume": False, "stage": silent}
        experiment.run_experiment([small_case("case_01")], [], config, LABELS, **arguments)
    assert equal_trees(*started)


def small_experiment(adversary: dict[str, object]) -> Config:
    sections = {
        "data": {"manifest": "manifest.csv", "labels": "labels.yaml"},
        "patch": {"size": [16, 16, 8]},
        "generator": {"channels": 4, "max_channels": 8},
        "adversary": adversary,
    }
    return parse_config(sections, where="test")


def test_coarser_levels_are_supervised_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    supervised = loop.SupervisedLoss.__call__

    def spy(loss: Any, logits: list[torch.Tensor], classes: torch.Tensor) -> torch.Tensor:
        shapes.append([tuple(level.shape) for level in logits])
        return supervised(loss, logits, classes)

    monkeypatch.setattr(loop.SupervisedLoss, "__call__", spy)
    train(tmp_path, config=small_training(max_steps=1), generator=small_generator(config=DEEP))
    assert shapes == [[(2, 4, 16, 16, 8), (2, 4, 8, 8, 4)]]


def test_slicewise_generator_trains_against_the_volumetric_discriminator(tmp_path: Path) -> None:
    train(tmp_path, generator=small_generator(config=SLICEWISE), adversary=small_adversary())
    assert {"supervised_loss", "discriminator_loss", "real_score", "fake_score", "adversarial_loss"} <= set(
        steps_of(tmp_path)[-1]
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_loss_falls(tmp_path: Path, optimizer: str) -> None:
    config = small_training(max_steps=20, optimizer=optimizer, learning_rate=0.01)
    train(tmp_path, config=config, adversary=small_adversary())
    losses = [line["supervised_loss"] for line in steps_of(tmp_path)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_runs_on_cuda_and_resumes(tmp_path: Path, precision: str) -> None:
    config = small_training(device="cuda", precision=precision, learning_rate=0.01, max_steps=30, checkpoint_every=15)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, config=config, adversary=small_adversary(), on_step=stop_after(20))
    generator = small_generator(seed=1)
    train(tmp_path, config=config, generator=generator, adversary=small_adversary(seed=2), resume=True)
    losses = [line["supervised_loss"] for line in steps_of(tmp_path)]
    assert len(losses) == 30
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(torch.isfinite(weight).all() for weight in generator.parameters())
