"""A part of the fuzz (`fuzz.py`), small enough for every run; and proof that it would see what it looks for."""

import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from fuzz import MAX_GROWN_MB, Outcome, draw, fuzz, read_sample, table, try_one
from fuzz_inputs import Sample, samples
from fuzz_parts import same_world

from medgan.errors import MedganError
from medgan.volume.volume import Volume

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured through /proc")
SEED, COUNT = 2026, 1000


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return fuzz(range(COUNT), seed=SEED)


def write(sample: Sample, folder: Path) -> Path:
    for name, content in sample.files.items():
        (folder / name).write_bytes(content)
    return folder / sample.target


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_what_is_not_damaged_loads_right(tmp_path, sample):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = read_sample(write(sample, tmp_path), sample)
    assert same_world(volume, sample.truth)


def test_damaged_files_are_refused_in_a_sentence_or_loaded_right(outcomes):
    findings = [outcome for outcome in outcomes if outcome.result == "finding"]
    assert [f"{each.number} {each.sample}, {each.kind}: {each.detail}" for each in findings] == []


def test_every_mutation_has_an_outcome(outcomes):
    assert [outcome.number for outcome in outcomes] == list(range(COUNT))


def test_no_damaged_file_takes_much_time_or_memory(outcomes):
    assert max(outcome.seconds for outcome in outcomes) < 10
    assert max(outcome.grown_mb for outcome in outcomes) < MAX_GROWN_MB


def test_all_samples_and_outcomes_occur(outcomes):
    assert {outcome.sample for outcome in outcomes} == {sample.name for sample in samples()}
    results = [outcome.result for outcome in outcomes]
    assert results.count("refused") > 0.4 * COUNT
    assert results.count("as the original") > 0.1 * COUNT
    assert results.count("as the judge says") > 0.03 * COUNT
    assert results.count("undecided") < 0.01 * COUNT


def test_a_mutation_is_the_same_whenever_it_is_drawn():
    assert [draw(n, seed=SEED)[1] for n in range(60)] == [draw(n, seed=SEED)[1] for n in range(60)]
    assert draw(7, seed=SEED)[1] != draw(7, seed=SEED + 1)[1]


WRONG = {
    "mirrored": lambda v: Volume(v.data[:, ::-1], v.affine),
    "a slice short": lambda v: Volume(v.data[..., : max(1, v.shape[2] - 1)], v.affine),
    "shifted by a voxel": lambda v: Volume(v.data, v.affine @ _moved(0, 1, 0)),
    "left and right exchanged": lambda v: Volume(v.data, np.diag([-1.0, 1.0, 1.0, 1.0]) @ v.affine),
    "another spacing": lambda v: Volume(v.data, v.affine @ np.diag([1.1, 1.0, 1.0, 1.0])),
    "one value off": lambda v: Volume(_with_one_value_off(v.data), v.affine),
}


def _with_one_value_off(data: np.ndarray) -> np.ndarray:
    changed = data.astype(np.float64)
    changed.flat[7] += 1 + 1e-4 * np.abs(changed).max()
    return changed


def _moved(*steps: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = steps
    return matrix


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_reader_is_found_out(outcomes, wrong):
    def read(path: Path, sample: Sample) -> Volume:
        volume = read_sample(path, sample)
        changed = WRONG[wrong](volume)
        if same_world(changed, volume):  # a constant image mirrored
            raise MedganError(f"{path} is refused.")
        return changed

    found = fuzz(range(100), seed=SEED, read=read)
    loaded = {each.number for each in outcomes[:100] if each.result.startswith("as ")}
    assert {each.number for each in found if each.result.startswith("as ")} == set()
    assert len(loaded & {each.number for each in found if each.result == "finding"}) > 0.8 * len(loaded)


@pytest.mark.parametrize(
    ("misbehave", "detail"),
    [
        (lambda path: os.kill(os.getpid(), signal.SIGSEGV), "crash (SIGSEGV)"),
        (lambda path: time.sleep(60), "hang"),
        (lambda path: np.ones(600 << 17).sum(), "took 6"),
        (lambda path: np.ones(3 << 30, np.uint8), "not a MedganError: MemoryError"),
        (lambda path: {}["key"], "not a MedganError: KeyError"),
        (lambda path: refuse(f"{path} is of QUARTZ^JANE."), "leaks ['QUARTZ', 'JANE']"),
        (lambda path: refuse("It is damaged."), "names no input: It is damaged."),
        (lambda path: refuse(f"{path} holds \x00."), "is not one printable sentence"),
        (lambda path: refuse(f"{path} does not fit in memory."), "ran out of memory"),
        (lambda path: warnings.warn("odd", stacklevel=1), "names no input: odd"),
    ],
    ids=["crash", "hang", "600 MB", "3 GB", "KeyError", "leak", "no name", "unprintable", "no memory", "stray warning"],
)
def test_misbehaviour_is_pinned_on_its_mutation(misbehave, detail):
    sample_of_two = draw(2, seed=SEED)[1].files

    def read(path: Path, sample: Sample) -> Volume:
        folder = path if path.is_dir() else path.parent
        if {file.name: file.read_bytes() for file in folder.iterdir()} == sample_of_two:
            misbehave(path)
        raise MedganError(f"{path} is refused.")

    found = fuzz(range(5), seed=SEED, read=read, jobs=1, seconds_each=2 if detail == "hang" else 30)
    assert [each.result for each in found] == ["refused", "refused", "finding", "refused", "refused"]
    assert detail in found[2].detail


def refuse(message: str) -> None:
    raise MedganError(message)


def test_the_table_counts_every_kind(tmp_path):
    outcomes = [try_one(3, tmp_path, seed=SEED, read=read_sample), Outcome(0, "nii", "truncated", "finding")]
    assert table(outcomes).splitlines()[-1].startswith("| all | 2 |")
    assert "| truncated | 1 | 0 | 0 | 0 | 0 | 1 |" in table(outcomes)
