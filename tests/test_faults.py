"""The corpus of bad and tricky inputs: nothing bad passes in silence, nothing valid is refused."""

import gc
import importlib
import sys
import warnings

import numpy as np
import pytest
from phantoms import SHARED

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import same_grid

pytestmark = pytest.mark.skipif(not (SHARED / "faults").is_dir(), reason="the shared corpus of faults is not there")

# Valid or possible inputs that are refused for now, each with a clear sentence (the corpus allows that).
NOT_YET_READ = {
    "nii_pair": "a .hdr/.img pair: rare, and its two halves can be mixed up",
    "dcm_enhanced": "enhanced multi-frame objects are a reader of their own",
    "lab_dicom_seg": "DICOM SEG is a reader of its own",
    "lab_reoriented": "a label in another orientation meets its image in preprocessing, not here",
    "lab_big_ids": "a LabelMap ends at 65535",
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return the verdict on every volume, label and series of the corpus, by id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SHARED / "faults")
        patch.setattr(sys, "dont_write_bytecode", True)  # the shared folder is read-only
        make_faults, check_faults = (importlib.import_module(name) for name in ("make_faults", "check_faults"))
        corpus = tmp_path_factory.mktemp("faults") / "corpus"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # both leave open files to the collector
            make_faults.build(corpus, only=("nii_", "lab_", "dcm_"))
            found = check_faults.run(corpus, read_entry, kinds=("nifti", "label", "dicom"))
            gc.collect()
    return {row["id"]: row for row in found}


def read_entry(entry: dict, paths: dict) -> tuple[np.ndarray, np.ndarray]:
    if entry["kind"] != "label":
        volume = read_volume(paths["path"])
        return volume.data, volume.affine
    label, image = read_label(paths["path"]), read_volume(paths["image"])
    if not same_grid(label, image):
        grids = f"{label.describe_grid()} and {image.describe_grid()}"
        raise MedganError(f"{paths['path']}: label and image must share one geometry, found {grids}.")
    labels = LabelMap.from_mapping(entry["label_map"], where=paths["path"])
    return labels.to_values(labels.to_classes(label.data, where=paths["path"])), label.affine


def test_the_corpus_holds_every_kind(rows):
    kinds = [row["kind"] for row in rows.values()]
    assert min(kinds.count(kind) for kind in ("nifti", "label", "dicom")) >= 20


def test_every_verdict_is_acceptable(rows):
    assert {name: (row["verdict"], row["detail"]) for name, row in rows.items() if not row["pass"]} == {}


def test_every_refusal_is_ours(rows):
    """A refusal is one sentence of a MedganError, never a library's exception."""
    refusals = {name: row["text"] for name, row in rows.items() if row["status"] == "exception"}
    assert {name: text for name, text in refusals.items() if not text.startswith("MedganError: ")} == {}


def test_nothing_valid_is_refused_but_what_is_listed(rows):
    refused = {name for name, row in rows.items() if row["expectation"] == "ok" and row["verdict"] == "error"}
    assert refused == set(NOT_YET_READ)


def test_no_input_makes_noise_or_costs_memory(rows):
    assert max(row["rss_mb"] for row in rows.values()) < 200
    assert {name for name, row in rows.items() if row["warnings"]} == {"dcm_localizer"}


def test_names_and_numbers_of_persons_reach_no_output(rows):
    leaks = ("DOE^JANE", "00412345", "dr_roe", "ROE^RICHARD", "77120934", "19570612", "STRANGE", "SECRET")
    said = "\n".join(row["text"] + row["warnings"] for row in rows.values())
    assert [leak for leak in leaks if leak in said] == []
