"""The shared corpus of bad and tricky inputs, judged for several seeds, each in a process of its own."""

import gc
import importlib
import json
import multiprocessing
import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from phantoms import SHARED

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import same_grid

SEEDS = (0, 1, 2, 7, 11)
VOLUMES = ("nifti", "label", "dicom")
_OTHERS = {  # read by heavy modules, which are loaded before the judge forks: it times what an entry costs
    "manifest": "test_manifest",
    "config": "medgan.config",
    "checkpoint": "medgan.training.checkpoint",
}
_CONFIG = "data:\n  manifest: manifest.csv\n  labels: labels.yaml\n"


def judged(folder: Path) -> list[dict]:
    """Return the verdict on every entry of the corpus, and what it forbids, for every seed.

    Volumes have workers of their own: a process that holds what the other kinds need forks twice as slowly.
    """
    workers = min(len(SEEDS), os.cpu_count() or 1)
    rows: list[dict] = []
    for kinds in (VOLUMES, tuple(_OTHERS)):
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows += [row for found in pool.map(partial(_judge, folder, kinds), SEEDS) for row in found]
    return rows


def _judge(folder: Path, kinds: Sequence[str], seed: int) -> list[dict]:
    sys.path.insert(0, str(SHARED / "faults"))
    sys.dont_write_bytecode = True  # the shared folder is read-only
    make_faults, check_faults = (importlib.import_module(name) for name in ("make_faults", "check_faults"))
    for kind in kinds:
        importlib.import_module(_OTHERS.get(kind, "medgan.volume.readers"))
    corpus = folder / f"corpus_{kinds[0]}_{seed}"
    prefixes = [spec["id"] for spec, _ in make_faults.REGISTRY if spec["kind"] in kinds]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # both leave open files to the collector
        make_faults.build(corpus, seed=seed, only=prefixes)
        gc.collect()
        gc.freeze()  # a collection in a child would copy all that the parent has
        gc.disable()
        rows = check_faults.run(corpus, read_entry, kinds=kinds)
        gc.enable()
    entries = {entry["id"]: entry for entry in json.loads((corpus / "faults.json").read_text())["entries"]}
    return [{**row, "seed": seed, "forbid": entries[row["id"]].get("forbid", {})} for row in rows]


def read_entry(entry: dict, paths: dict) -> object:
    """Read an entry through medgan's own door for its kind."""
    readers = {"label": _read_label, "manifest": _read_manifest, "config": _read_config, "checkpoint": _read_checkpoint}
    if entry["kind"] in readers:
        return readers[entry["kind"]](entry, paths)
    volume = read_volume(paths["path"])
    return volume.data, volume.affine


def _read_label(entry: dict, paths: dict) -> tuple[np.ndarray, np.ndarray]:
    image = read_volume(paths["image"])
    label = read_label(paths["path"], reference=image)
    if not same_grid(label, image):
        grids = f"{label.describe_grid()} and {image.describe_grid()}"
        raise MedganError(f"{paths['path']}: label and image must share one geometry, found {grids}.")
    labels = LabelMap.from_mapping(entry["label_map"], where=paths["path"])
    return labels.to_values(labels.to_classes(label.data, where=paths["path"])), label.affine


def _read_manifest(entry: dict, paths: dict) -> list[str]:
    from test_manifest import with_our_keys

    from medgan.manifest.read import read_manifest

    return [case.case_id for case in read_manifest(with_our_keys(Path(paths["path"]), as_csv=False))]


def _read_config(entry: dict, paths: dict) -> dict:
    """Read a config of the corpus, whose keys are flat, in the sections medgan has."""
    from medgan.config import load_config

    path = Path(paths["path"])
    text = path.read_text().replace("patch_size:", "patch:\n  size:")
    path.write_text(_CONFIG + (text if text.startswith("patch:") else "training:\n  " + text.replace("\n", "\n  ")))
    return load_config(path).training.model_dump()


def _read_checkpoint(entry: dict, paths: dict) -> dict:
    from medgan.training.checkpoint import load_state

    return load_state(paths["path"])
