"""The corpus of bad and tricky inputs: nothing bad passes in silence, nothing valid is refused, whatever the seed."""

from collections import defaultdict

import pytest
from corpus import SEEDS, VOLUMES, judged
from phantoms import SHARED

pytestmark = pytest.mark.skipif(not (SHARED / "faults").is_dir(), reason="the shared corpus of faults is not there")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return judged(tmp_path_factory.mktemp("faults"))


def told(rows, fact):
    """Return what is to be shown of some rows, by id and seed."""
    return {(row["id"], row["seed"]): fact(row) for row in rows}


def test_every_entry_is_judged_with_every_seed(rows):
    for kind, fewest in {"nifti": 50, "label": 20, "dicom": 50, "manifest": 20, "config": 8, "checkpoint": 7}.items():
        found = [row["id"] for row in rows if row["kind"] == kind]
        assert len(set(found)) >= fewest, kind
        assert all(found.count(name) == len(SEEDS) for name in set(found)), kind


def test_every_verdict_is_acceptable(rows):
    assert told([row for row in rows if not row["pass"]], lambda row: (row["verdict"], row["detail"])) == {}


def test_every_refusal_is_ours(rows):
    """A refusal is one sentence of a MedganError, never a library's exception."""
    others = [row for row in rows if row["status"] == "exception" and not row["text"].startswith("MedganError: ")]
    assert told(others, lambda row: row["text"]) == {}


def test_no_valid_volume_or_label_is_refused(rows):
    valid = [row for row in rows if row["kind"] in VOLUMES and row["expectation"] == "ok"]
    assert len(valid) >= 60 * len(SEEDS)
    assert told([row for row in valid if row["verdict"] == "error"], lambda row: row["text"]) == {}


def test_what_is_refused_costs_neither_memory_nor_time(rows):
    refused = [row for row in rows if row["status"] == "exception"]
    assert max(row["rss_mb"] for row in refused) < 256
    seconds = defaultdict(list)
    for row in refused:
        seconds[row["id"]].append(row["seconds"])
    assert {name: found for name, found in seconds.items() if min(found) >= 2} == {}


def test_only_what_is_odd_makes_noise(rows):
    assert {row["id"] for row in rows if row["warnings"]} <= {"dcm_localizer", "dcm_gantry_tilt"}


def test_what_the_corpus_forbids_to_be_said_is_not_said(rows):
    leaks = [(row["id"], leak, row["text"] + row["warnings"]) for row in rows for leak in row["forbid"].get("leak", ())]
    assert len(leaks) >= 10 * len(SEEDS)
    assert [(name, leak) for name, leak, said in leaks if leak in said] == []


def test_no_code_of_an_input_runs(rows):
    assert len({row["id"] for row in rows if "marker" in row["forbid"]}) >= 3
    assert {row["id"] for row in rows if row["verdict"] == "code ran"} == set()
