"""One experiment put together: networks planned and built, trained with whole-case validation, and put on record."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from medgan.config import Config
from medgan.device import describe_device, pick_device, seed_everything
from medgan.evaluation.overlap import count_overlaps
from medgan.files import write_json, write_text
from medgan.inference.predictor import build_engine, predict_scores
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.networks.plan import plan_generator
from medgan.networks.registry import build_discriminator, build_generator
from medgan.preprocessing.dataset import PatchDataset, TrainingCase, median_spacing
from medgan.progress import Stage
from medgan.provenance import data_sha256, git_revision, package_versions, text_sha256
from medgan.training.adversary import Adversary
from medgan.training.checkpoint import load_state
from medgan.training.loop import STATE_FILE, fit


def run_experiment(
    train_cases: Sequence[TrainingCase],
    val_cases: Sequence[TrainingCase],
    config: Config,
    labels: LabelMap,
    *,
    folder: Path,
    cases: Sequence[Case],
    resume: bool,
    stage: Stage,
) -> Path:
    """Plan and build the networks, train them, and leave a model folder with its record; return it.

    Args:
        train_cases: what to train on.
        val_cases: what to validate on; may be empty.
        config: the experiment.
        labels: the organs.
        folder: model folder.
        cases: the whole manifest, for the record.
        resume: go on from the last checkpoint.
        stage: shows progress.
    """
    num_channels = train_cases[0].prepared.image.shape[0]
    planned = plan_generator(config.generator, config.patch.size, median_spacing(train_cases))
    config = config.model_copy(update={"generator": planned})
    seed_everything(config.training.seed)  # the generator first, so that it starts alike without an adversary
    generator = build_generator(planned, in_channels=num_channels, num_classes=labels.num_classes)
    adversary = _adversary(config, num_channels, labels.num_classes) if config.adversary.enabled else None
    patches = PatchDataset(
        train_cases,
        size=config.patch.size,
        num_patches=config.training.max_steps * config.training.batch_size,
        augmentation=config.augmentation,
        foreground_fraction=config.patch.foreground_fraction,
        mirrored_classes=labels.mirrored_classes,
        seed=config.training.seed,
    )
    portable = _portable(config)
    record = _record(portable, cases, num_channels)
    fingerprint = _fingerprint(config, labels, str(record["data_sha256"]))
    if resume:
        load_state(folder / STATE_FILE, fingerprint=fingerprint)  # refused before anything in the folder changes
    write_text(folder / "config.yaml", portable.to_yaml())
    labels.to_yaml(folder / "labels.yaml")
    write_json(folder / "training.json", record)
    with stage("train") as advance:
        result = fit(
            generator,
            adversary,
            patches,
            config=config.training,
            folder=folder,
            fingerprint=fingerprint,
            validate=_validation(val_cases, config, labels) if val_cases else None,
            resume=resume,
            on_step=lambda step, progress: advance(progress, f"step {step}"),
        )
    write_json(folder / "training.json", {**record, "result": result.as_dict()})
    return folder


def _adversary(config: Config, num_channels: int, num_classes: int) -> Adversary:
    discriminator = build_discriminator(
        config.adversary,
        config.generator,
        in_channels=num_channels,
        num_classes=num_classes,
        is_planar=config.patch.size[2] == 1,
    )
    return Adversary(discriminator, config.adversary)


def _record(config: Config, cases: Sequence[Case], num_channels: int) -> dict[str, object]:
    """Return what training.json holds before the first step: everything its figures depend on."""
    return {
        "num_channels": num_channels,
        "cases": {split: sum(case.split == split for case in cases) for split in ("train", "val", "test")},
        "seed": config.training.seed,
        "data_sha256": data_sha256(case for case in cases if case.split in ("train", "val")),
        "config": config.model_dump(mode="json"),
        "config_sha256": text_sha256(config.to_yaml()),
        "git_revision": git_revision(),
        "versions": package_versions(),
        "device": describe_device(pick_device(config.training.device)),
    }


def _validation(cases: Sequence[TrainingCase], config: Config, labels: LabelMap) -> Callable[[nn.Module], float]:
    """Return what scores a generator: mean Dice over cases and organs, by sliding window over whole cases."""

    def mean_dice(generator: nn.Module) -> float:
        engine = build_engine(generator, config.inference, labels, device=config.training.device)
        values = range(1, labels.num_classes)
        dices: list[float] = []
        for case in cases:
            scores = predict_scores(case.prepared, engine, window=config.patch.size, config=config.inference)
            overlaps = count_overlaps(case.classes, scores.argmax(axis=0), values=values)
            dices += [overlap.dice for overlap in overlaps if not math.isnan(overlap.dice)]
        return sum(dices) / len(dices) if dices else math.nan

    return mean_dice


def _portable(config: Config) -> Config:
    """Return the config as it travels with the model: with the labels file of its own folder."""
    data = config.data.model_copy(
        update={
            "manifest": config.data.manifest.resolve(),
            "labels": Path("labels.yaml"),
            "root": config.data.root.resolve() if config.data.root else None,
        }
    )
    return config.model_copy(update={"data": data})


def _fingerprint(config: Config, labels: LabelMap, data_hash: str) -> str:
    """Return what a resumed training must share with the one that stopped: all but where it runs and writes."""
    training = config.training.model_dump(
        mode="json", exclude={"device", "precision", "num_workers", "tensorboard", "checkpoint_every"}
    )
    sections = config.model_dump(
        mode="json", include={"preprocessing", "patch", "augmentation", "generator", "adversary"}
    )
    return text_sha256(json.dumps([sections, training, labels.to_mapping(), data_hash], sort_keys=True))
