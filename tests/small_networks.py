"""Networks, cases and settings small enough to train in a test, and a disk as small."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from phantoms import box_volume
from torch import nn

from medgan.config import AdversaryConfig, AugmentationConfig, GeneratorConfig, TrainingConfig
from medgan.labels import LabelMap
from medgan.networks.registry import build_discriminator, build_generator
from medgan.preprocessing.dataset import PatchDataset, TrainingCase
from medgan.preprocessing.prepare import prepare
from medgan.training.adversary import Adversary

LABELS = LabelMap.from_mapping({"left_lung": 1, "right_lung": 2, "heart": 3})
GENERATOR = GeneratorConfig(
    channels=4,
    max_channels=8,
    strides=((2, 2, 1), (2, 2, 2)),
    kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
)
DEEP = GENERATOR.model_copy(update={"strides": ((2, 2, 2),) * 3, "kernels": ((3, 3, 3),) * 4})
SLICEWISE = GENERATOR.model_copy(update={"spatial_dims": 2, "strides": ((2, 2, 1), (2, 2, 1))})
ADVERSARY = AdversaryConfig(channels=4, num_layers=1, warmup_fraction=0.0, ramp_fraction=0.5)
SIZE = (16, 16, 8)


def small_generator(*, seed: int = 0, config: GeneratorConfig = GENERATOR) -> nn.Module:
    """Return a U-Net from one channel to the classes of `LABELS`."""
    torch.manual_seed(seed)
    return build_generator(config, in_channels=1, num_classes=LABELS.num_classes)


def small_adversary(config: AdversaryConfig = ADVERSARY, *, seed: int = 0) -> Adversary:
    """Return a volumetric discriminator of one level and its game."""
    torch.manual_seed(seed)
    discriminator = build_discriminator(
        config, GENERATOR, in_channels=1, num_classes=LABELS.num_classes, is_planar=False
    )
    return Adversary(discriminator, config)


def small_case(case_id: str, *, is_nan: bool = False) -> TrainingCase:
    """Return a prepared case of three boxes, or one whose image is NaN throughout."""
    label = box_volume(labels=True)
    prepared = prepare(box_volume(), spacing_mm=None, intensity="window")
    if is_nan:
        prepared.image[:] = np.nan
    return TrainingCase(case_id, prepared, LABELS.to_classes(label.data[0], where=case_id))


def small_patches(*cases: TrainingCase) -> PatchDataset:
    """Return augmented patches of `cases`, or of two."""
    return PatchDataset(
        cases or (small_case("case_01"), small_case("case_02")),
        size=SIZE,
        num_patches=100,
        augmentation=AugmentationConfig(),
        foreground_fraction=0.5,
        mirrored_classes=LABELS.mirrored_classes,
        seed=0,
    )


def small_training(**changes: object) -> TrainingConfig:
    """Return settings of six steps on the CPU in float32, changed as given."""
    settings: dict[str, object] = {
        "max_steps": 6,
        "device": "cpu",
        "precision": "fp32",
        "checkpoint_every": 3,
        "tensorboard": False,
    }
    return TrainingConfig.model_validate({**settings, **changes})


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Let writing fail beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
