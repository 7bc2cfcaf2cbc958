"""The whole way as a user goes it: `medgan quickstart` in a process of its own, on phantoms, minutes each."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import medgan
from medgan.manifest.read import read_manifest
from medgan.volume.volume import same_grid

ORGANS = ("left_lung", "right_lung", "heart")


@pytest.mark.slow
@pytest.mark.parametrize("dims", [3, 2])
def test_quickstart_reaches_dice_090_and_leaves_everything_in_place(tmp_path: Path, dims: int) -> None:
    out = tmp_path / "quickstart"
    command = [sys.executable, "-m", "medgan.cli", "quickstart", "--out", str(out), "--dims", str(dims)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(out / "evaluation" / "report.html") in done.stdout
    assert "train: done" in done.stderr

    cases = [case for case in read_manifest(out / "cohort" / "manifest.csv") if case.split == "test"]
    for case in cases:
        image, labels = (
            medgan.read_volume(case.images[0]),
            medgan.read_label(out / f"predictions/{case.case_id}.nii.gz"),
        )
        assert same_grid(image, labels)
        record = json.loads((out / f"predictions/{case.case_id}.json").read_text())
        assert set(record["labels"]) == set(ORGANS)
    with (out / "evaluation" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(cases) * len(ORGANS)
    for organ in ORGANS:
        mean = np.mean([float(row["dice"]) for row in rows if row["organ"] == organ])
        assert mean >= 0.90, f"{organ}: {mean:.3f}\n{done.stdout}"
    training = json.loads((out / "model" / "training.json").read_text())
    assert training["seed"] == 0
    assert training["data_sha256"]
    assert (out / "model" / "discriminator.safetensors").is_file()
    page = (out / "evaluation" / "report.html").read_text()
    assert all(case.case_id in page for case in cases)

    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "is not empty" in again.stderr
    assert "Traceback" not in again.stderr
