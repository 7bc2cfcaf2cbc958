"""Cohorts so small that a whole training takes a second."""

from pathlib import Path

import numpy as np
from phantoms import box_volume
from PIL import Image

from medgan.manifest.case import Case
from medgan.manifest.read import write_manifest
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

SPLITS = {"case_a": "train", "case_b": "train", "case_c": "val", "case_d": "test"}
SETTINGS = """
data: {manifest: manifest.csv, labels: labels.yaml}
generator: {channels: 4, max_channels: 8}
adversary: {channels: 4, num_layers: 2}
training: {max_steps: 2, validate_every: 1, checkpoint_every: 1, device: cpu, precision: fp32, tensorboard: false}
"""
BOXES = "patch: {size: [16, 16, 8]}\n"
PICTURES = """
patch: {size: [16, 16, 1]}
preprocessing: {intensity: zscore}
"""


def write_box_cohort(folder: Path) -> Path:
    """Write four NIfTI cases of three boxes (train, train, val, test) and return their config."""
    cases = []
    for n, (case_id, split) in enumerate(SPLITS.items()):
        image, label = box_volume((18 + n, 16, 10)), box_volume((18 + n, 16, 10), labels=True)
        cases.append(_write_case(folder, case_id, split, image, label))
    return _write_cohort(folder, cases, "left_box: 1\nright_box: 2\ntop_box: 3\n", BOXES)


def write_picture_cohort(folder: Path) -> Path:
    """Write four PNG cases (train, train, val, test) and return their config."""
    cases = []
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for n, (case_id, split) in enumerate(SPLITS.items()):
        pixels = np.zeros((20 + n, 24), np.uint8)
        pixels[4:14, 6:18] = 255
        paths = [folder / name / f"{case_id}.png" for name in ("images", "labels")]
        Image.fromarray(pixels // 2 + 40).save(paths[0])
        Image.fromarray(pixels).save(paths[1])
        cases.append(Case(case_id, (paths[0],), paths[1], split, patient=case_id))
    return _write_cohort(folder, cases, "lungs: 255\n", PICTURES + "inference: {mirror: true}\n")


def _write_case(folder: Path, case_id: str, split: str, image: Volume, label: Volume) -> Case:
    paths = [folder / name / f"{case_id}.nii.gz" for name in ("images", "labels")]
    write_volume(image, paths[0])
    write_volume(label, paths[1])
    return Case(case_id, (paths[0],), paths[1], split, patient=f"patient_{case_id}")


def _write_cohort(folder: Path, cases: list[Case], labels: str, settings: str) -> Path:
    write_manifest(cases, folder / "manifest.csv")
    (folder / "labels.yaml").write_text(labels)
    (folder / "config.yaml").write_text(SETTINGS + settings)
    return folder / "config.yaml"
