"""The training, from the first step to the last: read `fit` downwards."""

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from medgan.config import TrainingConfig
from medgan.device import (
    autocast,
    batch_to_device,
    pick_device,
    pick_dtype,
    random_state,
    restore_random_state,
    to_device,
)
from medgan.errors import MedganError
from medgan.preprocessing.dataset import Patch, PatchDataset
from medgan.training.adversary import Adversary, soften_reference
from medgan.training.checkpoint import load_state, save_state, save_weights
from medgan.training.losses import SupervisedLoss
from medgan.training.recorder import Recorder
from medgan.training.schedule import Clock, ema_decay_at, learning_rate_factor

STATE_FILE = "state.pt"


@dataclass(frozen=True)
class FitResult:
    """How a training ended.

    Attributes:
        step: the last step.
        best_step: the step whose averaged weights are in `generator.safetensors`.
        best_score: its validation score; NaN if nothing was validated.
        seconds: time spent, resumed parts included.
    """

    step: int
    best_step: int
    best_score: float
    seconds: float

    def as_dict(self) -> dict[str, float]:
        """Return the fields by name, for records."""
        return asdict(self)


def fit(
    generator: nn.Module,
    adversary: Adversary | None,
    patches: PatchDataset,
    *,
    config: TrainingConfig,
    folder: Path,
    fingerprint: str,
    validate: Callable[[nn.Module], float] | None = None,
    resume: bool = False,
    on_step: Callable[[int, float], None] = lambda step, progress: None,
) -> FitResult:
    """Train `generator` on `patches`, against `adversary` if there is one, and leave the weights in `folder`.

    `generator.safetensors` holds the moving average of the weights that validated best (the last one without
    `validate`), `generator_last.safetensors` the last, `discriminator.safetensors` the discriminator, `state.pt` what
    `resume` starts from, `metrics.jsonl` (and `logs/` for TensorBoard) the course.

    Args:
        generator: (B, C, I, J, K) to a list of logits, full size first.
        adversary: None trains without one; weights, patches and their order stay the same.
        patches: patch n is the same whenever it is asked for; step s takes patches s * batch_size and following.
        config: how long, how fast, on what.
        folder: model folder; created if absent.
        fingerprint: identifies data and settings; a state with another one is not resumed.
        validate: returns the score of a generator, higher is better.
        resume: go on from `state.pt`; equal to never having stopped.
        on_step: called after each step with the step and the progress from 0 to 1.

    Raises:
        MedganError: if the loss is not finite (naming step and cases), or the state to resume does not fit.
    """
    device = pick_device(config.device)
    dtype = pick_dtype(device, config.precision)
    run = _Run(generator, adversary, config, device=device, dtype=dtype)
    if resume:
        run.load(load_state(folder / STATE_FILE, fingerprint=fingerprint))
    clock = Clock(config.max_steps, config.max_minutes, elapsed_s=run.elapsed_s)
    supervised = SupervisedLoss()

    with Recorder(folder, first_step=run.step, use_tensorboard=config.tensorboard) as recorder:
        batches = iter(_batches(patches, config, first_step=run.step))
        progress = clock.progress(run.step)
        while progress < 1.0:
            batch: dict[str, Any] = next(batches)
            run.set_learning_rate(learning_rate_factor(progress, config.schedule))
            losses = _step(run, batch, supervised, progress=progress)
            run.step += 1
            progress = clock.progress(run.step)
            recorder.scalars(run.step, losses)
            on_step(run.step, min(1.0, progress))

            is_last = progress >= 1.0
            if validate is not None and (is_last or run.step % config.validate_every == 0):
                score = validate(run.average)
                recorder.scalars(run.step, {"validation_dice": score})
                recorder.panel(run.step, batch, run.last_prediction)
                if score > run.best_score or math.isnan(run.best_score):  # NaN: no score yet
                    run.best_score, run.best_step = score, run.step
                    save_weights(run.average, folder / "generator.safetensors")
                progress = clock.progress(run.step)  # validation takes time as well
                is_last = is_last or progress >= 1.0
            if is_last or run.step % config.checkpoint_every == 0:
                run.elapsed_s = clock.elapsed_s
                save_state(run.state(fingerprint), folder / STATE_FILE)

    save_weights(run.average, folder / "generator_last.safetensors")
    if math.isnan(run.best_score):
        run.best_step = run.step
        save_weights(run.average, folder / "generator.safetensors")
    if adversary is not None:
        save_weights(adversary.discriminator, folder / "discriminator.safetensors")
    return FitResult(run.step, run.best_step, run.best_score, clock.elapsed_s)


def _step(run: "_Run", batch: dict[str, Any], supervised: SupervisedLoss, *, progress: float) -> dict[str, float]:
    """Update discriminator and generator once, from one generator forward, and return the losses."""
    image = batch_to_device(batch["image"], run.device)
    classes = batch["classes"].to(run.device)
    with autocast(run.device, run.dtype):
        logits = run.generator(image)
    prediction = logits[0].float().softmax(dim=1)
    run.last_prediction = prediction.detach().argmax(dim=1)
    losses: dict[str, float] = {}

    adversary = run.adversary
    reference = soften_reference(classes, prediction) if adversary else prediction
    if adversary is not None and run.discriminator_optimizer is not None:
        with autocast(run.device, run.dtype):
            look = adversary.discriminator_step(image, reference, prediction, progress=progress)
        _require_finite(look.loss, "discriminator loss", run.step, batch)
        norm = run.update(look.loss, adversary.discriminator, run.discriminator_optimizer)
        _require_finite(norm, "discriminator gradient", run.step, batch)
        losses |= {
            "discriminator_loss": look.loss.item(),
            "real_score": look.real_score.item(),
            "fake_score": look.fake_score.item(),
        }

    supervised_loss = supervised(logits, classes)
    loss = supervised_loss
    if adversary is not None:
        with autocast(run.device, run.dtype):
            pull = adversary.generator_loss(image, reference, prediction, progress=progress)
        loss = supervised_loss + pull
        losses["adversarial_loss"] = pull.item()
    _require_finite(loss, "generator loss", run.step, batch)
    norm = run.update(loss, run.generator, run.generator_optimizer)
    _require_finite(norm, "generator gradient", run.step, batch)
    run.update_average()
    return {"supervised_loss": supervised_loss.item(), **losses}


class _Run:
    """Everything that changes during a training, so that it can be saved and loaded as one."""

    def __init__(
        self,
        generator: nn.Module,
        adversary: Adversary | None,
        config: TrainingConfig,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self.generator = to_device(generator, device).train()
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.adversary = adversary
        self.generator_optimizer = _generator_optimizer(self.generator, config)
        self.discriminator_optimizer: torch.optim.Optimizer | None = None
        self.discriminator_learning_rate = 0.0
        if adversary is not None:
            to_device(adversary.discriminator, device).train()
            self.discriminator_learning_rate = adversary.config.learning_rate
            self.discriminator_optimizer = torch.optim.Adam(
                adversary.discriminator.parameters(), lr=self.discriminator_learning_rate, betas=(0.5, 0.999)
            )
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.step, self.elapsed_s = 0, 0.0
        self.best_step, self.best_score = 0, math.nan
        self.last_prediction: torch.Tensor | None = None

    def set_learning_rate(self, factor: float) -> None:
        """Set both learning rates to `factor` times their initial ones."""
        for optimizer, initial in (
            (self.generator_optimizer, self.config.learning_rate),
            (self.discriminator_optimizer, self.discriminator_learning_rate),
        ):
            for group in optimizer.param_groups if optimizer else ():
                group["lr"] = factor * initial

    def update(self, loss: torch.Tensor, network: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        """Take one step of `optimizer` down the clipped gradient of `loss`; return the gradient's norm before.

        In fp16 a gradient that overflows is expected now and then: the step is left out and the norm is 0.
        """
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.config.gradient_clip)
        self.scaler.step(optimizer)
        self.scaler.update()
        return norm if not self.scaler.is_enabled() else norm.nan_to_num(0.0, 0.0)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the generator's."""
        decay = ema_decay_at(self.step, self.config.ema_decay)
        averaged: list[torch.Tensor] = list(self.average.parameters())
        current: list[torch.Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(averaged, current, 1.0 - decay)

    def state(self, fingerprint: str) -> dict[str, Any]:
        """Return everything that `load` needs to go on as if nothing had happened."""
        discriminator = self.adversary.discriminator if self.adversary else None
        return {
            "fingerprint": fingerprint,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "best_step": self.best_step,
            "best_score": self.best_score,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator": discriminator.state_dict() if discriminator else None,
            "discriminator_optimizer": self.discriminator_optimizer.state_dict()
            if self.discriminator_optimizer
            else None,
            "scaler": self.scaler.state_dict(),
            "random": random_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        self.best_step, self.best_score = state["best_step"], state["best_score"]
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        if self.adversary is not None and self.discriminator_optimizer is not None:
            self.adversary.discriminator.load_state_dict(state["discriminator"])
            self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        restore_random_state(state["random"])


def _generator_optimizer(generator: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            generator.parameters(),
            lr=config.learning_rate,
            momentum=0.99,
            nesterov=True,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(generator.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)


def _batches(patches: PatchDataset, config: TrainingConfig, *, first_step: int) -> DataLoader[Patch]:
    """Return batches from `first_step` on; no shuffling, as patch n is random but fixed."""
    return DataLoader(
        patches,
        batch_size=config.batch_size,
        sampler=range(first_step * config.batch_size, config.max_steps * config.batch_size),
        num_workers=config.num_workers,
        generator=torch.Generator(),  # else every new loader, as on resume, draws from torch's own
    )


def _require_finite(loss: torch.Tensor, name: str, step: int, batch: dict[str, Any]) -> None:
    if not torch.isfinite(loss):
        raise MedganError(
            f"step {step + 1}: the {name} is {loss.item()} for cases {', '.join(batch['case_id'])}; look at these "
            "images, or lower training.learning_rate. The last checkpoint is kept."
        )
