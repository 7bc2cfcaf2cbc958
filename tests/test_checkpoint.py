"""Weights and training states on disk: exact, whole, and without code in them."""

import functools
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from phantoms import SHARED
from safetensors.torch import save_file
from small_networks import largest_file, small_adversary, small_generator
from torch import nn

from medgan.errors import MedganError
from medgan.training.checkpoint import load_state, load_weights, read_json, save_state, save_weights

STATE = {
    "step": 7,
    "best_score": float("nan"),
    "generator": {"weight": torch.arange(3000.0)},
    "random": {"cpu": torch.get_rng_state(), "cuda": []},
    "optimizer": {"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.5, 0.9)}]},
    "discriminator": None,
}


def make_faults() -> ModuleType:
    """Return the module of the shared corpus of faults, or skip the test."""
    path = SHARED / "faults" / "make_faults.py"
    if not path.is_file():
        pytest.skip("the shared corpus of faults is not here")
    spec = importlib.util.spec_from_file_location("make_faults", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["make_faults"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "generator.safetensors"
    network, other = small_generator(seed=0).to(dtype), small_generator(seed=1).to(dtype)
    save_weights(network, path)
    digest = load_weights(other, path)
    for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    save_weights(other, tmp_path / "again.safetensors")
    assert load_weights(network, tmp_path / "again.safetensors") == digest


def test_spectral_norm_comes_back_with_its_vectors(tmp_path: Path) -> None:
    path = tmp_path / "discriminator.safetensors"
    first, second = small_adversary(seed=0).discriminator.eval(), small_adversary(seed=1).discriminator.eval()
    save_weights(first, path)
    load_weights(second, path)
    image, segmentation = torch.randn(1, 1, 8, 8, 8), torch.rand(1, 4, 8, 8, 8)
    assert torch.equal(first(image, segmentation)[0], second(image, segmentation)[0])


def test_digest_is_of_content(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_weights(small_generator(seed=seed), tmp_path / name)
        digests.append(load_weights(small_generator(), tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


def test_weights_of_another_shape_are_refused_with_the_first_difference(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    save_weights(nn.Linear(2, 3), path)
    with pytest.raises(
        MedganError, match=r"generator\.safetensors: do not fit the model's config\.yaml: size mismatch"
    ):
        load_weights(nn.Linear(2, 4), path)
    with pytest.raises(MedganError, match="do not fit"):
        load_weights(nn.Conv3d(2, 3, 1), path)


def test_weights_of_another_program_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(nn.Linear(2, 3).state_dict(), path)
    with pytest.raises(MedganError, match=r"must have been written by medgan"):
        load_weights(nn.Linear(2, 3), path)


@pytest.mark.parametrize("kind", ["gone", "folder", "text"])
def test_what_is_no_weights_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "generator.safetensors"
    if kind == "folder":
        path.mkdir()
    if kind == "text":
        path.write_text("see elsewhere")
    with pytest.raises(MedganError, match=r"weights .*generator\.safetensors could not be read"):
        load_weights(nn.Linear(2, 3), path)


def test_any_changed_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    save_weights(nn.Linear(2, 3), path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(MedganError, match="does not match its own digest, so the file is damaged"):
        load_weights(nn.Linear(2, 3), path)


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    save_state(STATE, tmp_path / "state.pt")
    state = load_state(tmp_path / "state.pt")
    assert state["step"] == 7
    assert state["best_score"] != state["best_score"]
    assert torch.equal(state["generator"]["weight"], torch.arange(3000.0))
    assert torch.equal(state["random"]["cpu"], STATE["random"]["cpu"])  # type: ignore[index]
    assert state["optimizer"]["param_groups"] == [{"lr": 0.1, "betas": (0.5, 0.9)}]


@pytest.mark.parametrize("place", [0, 20, 50, 0.25, 0.5, 0.75, -1])
def test_one_flipped_bit_of_a_state_is_noticed(tmp_path: Path, place: float) -> None:
    path = tmp_path / "state.pt"
    save_state(STATE, path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(MedganError, match=r"^training state .*state\.pt is damaged"):
        load_state(path)


def test_state_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(MedganError, match=r"state\.pt does not exist, so there is no training to resume"):
        load_state(tmp_path / "state.pt")


def test_state_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medgan.training.checkpoint.STATE_VERSION", 0)
    save_state(STATE, tmp_path / "state.pt")
    monkeypatch.undo()
    with pytest.raises(MedganError, match=r"state\.pt: must be of version 1, found 0"):
        load_state(tmp_path / "state.pt")


class Payload:
    """Runs code where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_state_does_not_run(tmp_path: Path) -> None:
    save_state({"step": Payload(tmp_path / "MARKER")}, tmp_path / "whole.pt")  # with a digest that is right
    torch.save({"version": 1, "step": Payload(tmp_path / "MARKER")}, tmp_path / "plain.pt")
    for name in ("whole.pt", "plain.pt"):
        with pytest.raises(MedganError, match=f"^training state .*{name} is damaged") as told:
            load_state(tmp_path / name)
        assert "\n" not in str(told.value)
    assert not (tmp_path / "MARKER").exists()


@pytest.mark.parametrize("kind", ["weights", "state"])
def test_full_disk_is_told_and_keeps_what_was_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    path.write_text("old")
    writers = {
        "weights": functools.partial(save_weights, small_generator()),
        "state": functools.partial(save_state, STATE),
    }
    with largest_file(2000), pytest.raises(MedganError, match=f"{kind} could not be written: File too large"):
        writers[kind](path)
    assert path.read_text() == "old"
    assert [member.name for member in tmp_path.iterdir()] == [kind]


@pytest.mark.parametrize("kind", ["weights", "state"])
def test_every_damaged_copy_of_the_shared_corpus_is_refused(tmp_path: Path, kind: str) -> None:
    source = tmp_path / ("good.safetensors" if kind == "weights" else "good.pt")
    network = small_generator()
    if kind == "weights":
        save_weights(network, source)
    else:
        save_state({**STATE, "generator": network.state_dict()}, source)
    damaged = make_faults().mutate_checkpoint(source, tmp_path / "damaged")
    assert len(damaged) == 8
    for path in damaged:
        with pytest.raises(MedganError, match=path.name) as told:
            load_weights(network, path) if kind == "weights" else load_state(path)
        assert "\n" not in str(told.value)


def test_checkpoints_of_the_shared_corpus_are_refused_as_not_medgans_own(tmp_path: Path) -> None:
    entries = make_faults().build(tmp_path / "corpus", only=["ckp_"])["entries"]
    assert len(entries) >= 7
    for entry in entries:
        path = tmp_path / "corpus" / entry["path"]
        with pytest.raises(MedganError, match=rf"{path.name} is damaged"):
            load_state(path)
        assert not (path.parent / "MARKER").exists()


def test_json_of_a_model_folder_must_be_an_object(tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    path.write_text(json.dumps({"num_channels": 1}))
    assert read_json(path) == {"num_channels": 1}
    for text, found in (("[1]", "must hold a JSON object, found list"), ("{", "could not be read as JSON")):
        path.write_text(text)
        with pytest.raises(MedganError, match=rf"training\.json {found}"):
            read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(MedganError, match="could not be read as JSON"):
        read_json(path)
    with pytest.raises(MedganError, match=r"gone\.json could not be read as JSON"):
        read_json(tmp_path / "gone.json")
