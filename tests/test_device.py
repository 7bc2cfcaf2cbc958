"""Devices, precision and random state."""

import pytest
import torch
from torch import nn

from medgan import device as device_module
from medgan.device import (
    autocast,
    batch_to_device,
    describe_device,
    pick_device,
    pick_dtype,
    random_state,
    restore_random_state,
    seed_everything,
    to_device,
)
from medgan.errors import MedganError

CPU = torch.device("cpu")


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda_devices: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda_devices)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(("cuda_devices", "mps", "expected"), [(2, True, "cuda"), (0, True, "mps"), (0, False, "cpu")])
def test_auto_is_the_first_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda_devices: int, mps: bool, expected: str
) -> None:
    pretend(monkeypatch, cuda_devices=cuda_devices, mps=mps)
    assert pick_device("auto").type == expected


def test_device_with_a_number_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda_devices=2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(MedganError, match="device 'cuda:2' is not available on this machine; use auto or cpu"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-1", "cuda:99999999999999999999"])
def test_unknown_device_is_told_what_there_may_be(name: str) -> None:
    with pytest.raises(MedganError, match="device must be auto, cpu, cuda, cuda:N or mps, found"):
        pick_device(name)


@pytest.mark.parametrize("name", ["cuda", "mps", "meta", "xpu"])
def test_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pretend(monkeypatch)
    with pytest.raises(MedganError, match=f"device '{name}' is not available"):
        pick_device(name)


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for capability, expected in (((8, 0), torch.bfloat16), ((7, 5), torch.float16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert pick_dtype(cuda, "auto") is expected
    for has_bf16, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device_module, "_cpu_has_bf16", lambda found=has_bf16: found)
        assert pick_dtype(CPU, "auto") is expected
    assert pick_dtype(torch.device("mps"), "auto") is torch.float32


def test_precision_asked_for_is_given() -> None:
    assert pick_dtype(CPU, "fp32") is torch.float32
    assert pick_dtype(CPU, "bf16") is torch.bfloat16
    assert pick_dtype(torch.device("cuda"), "fp16") is torch.float16
    with pytest.raises(MedganError, match="precision fp16 needs a CUDA device, found cpu; use bf16, fp32 or auto"):
        pick_dtype(CPU, "fp16")


def test_convolution_runs_in_the_precision_picked() -> None:
    convolution, image = nn.Conv3d(1, 1, 1), torch.ones(1, 1, 2, 2, 2)
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(CPU, dtype):
            assert convolution(image).dtype is dtype


def test_layout_changes_no_value() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(2, 3, 3), nn.Flatten(2), nn.Linear(8, 1))
    before = [weight.clone() for weight in network.parameters()]
    moved = to_device(network, CPU)
    assert all(torch.equal(a, b) for a, b in zip(before, moved.parameters(), strict=True))
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    batch = torch.arange(48.0).reshape(1, 2, 2, 3, 4)
    assert torch.equal(batch_to_device(batch, CPU), batch)
    assert batch_to_device(batch, CPU).is_contiguous(memory_format=torch.channels_last_3d)


def test_random_state_goes_on_where_it_was_taken() -> None:
    seed_everything(3)
    torch.rand(5)
    state = random_state()
    expected = torch.rand(4)
    torch.rand(7)
    restore_random_state(state)
    assert torch.equal(torch.rand(4), expected)


def test_same_seed_gives_the_same_numbers() -> None:
    drawn = []
    for seed in (1, 1, 2):
        seed_everything(seed)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_device_in_words_names_the_threads() -> None:
    assert describe_device(CPU) == f"cpu ({torch.get_num_threads()} threads)"
