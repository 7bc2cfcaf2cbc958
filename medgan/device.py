"""The one place that knows devices: which one to use, in which precision, and its random state."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from medgan.errors import MedganError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is the first there is of CUDA, MPS and CPU.

    Raises:
        MedganError: if the name is unknown or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise MedganError(f"device must be auto, cpu, cuda, cuda:N or mps, found {name!r}.") from error
    there_is = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there_is.get(device.type, False):
        raise MedganError(f"device {name!r} is not available on this machine; use auto or cpu.")
    return device


def pick_dtype(device: torch.device, precision: Literal["auto", "fp32", "bf16", "fp16"]) -> torch.dtype:
    """Return the type that convolutions are computed in.

    "auto" is bf16 where the device computes it natively (Ampere and later; CPUs with AMX or AVX512-BF16), fp16 on
    older CUDA devices, and fp32 elsewhere.

    Raises:
        MedganError: if fp16 is asked for on a device other than CUDA.
    """
    if precision == "fp16" and device.type != "cuda":
        raise MedganError(f"precision fp16 needs a CUDA device, found {device.type}; use bf16, fp32 or auto.")
    if precision != "auto":
        return _DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_bf16() else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return the context in which a network runs in `dtype`; float32 leaves it as it is."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a network on `device`, its weights laid channels-last where convolutions are faster so."""
    network = network.to(device)
    for weight in network.parameters():
        if _likes_channels_last(device) and weight.dim() in _CHANNELS_LAST:
            weight.data = weight.data.contiguous(memory_format=_CHANNELS_LAST[weight.dim()])
    return network


def batch_to_device(batch: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a batch (B, C, I, J, K) on `device`, channels-last where convolutions are faster so."""
    layout = torch.channels_last_3d if _likes_channels_last(device) else torch.contiguous_format
    return batch.to(device).contiguous(memory_format=layout)


def seed_everything(seed: int) -> None:
    """Seed torch's generators on every device."""
    torch.manual_seed(seed)


def random_state() -> dict[str, object]:
    """Return the state of torch's random generators, for a checkpoint."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, object]) -> None:
    """Set torch's random generators to what `random_state` returned; CUDA's only on as many devices."""
    torch.set_rng_state(state["cpu"])  # type: ignore[arg-type]
    cuda = state["cuda"]
    if isinstance(cuda, list) and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)


def describe_device(device: torch.device) -> str:
    """Return the device in words, for records."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def _likes_channels_last(device: torch.device) -> bool:
    """Return whether 3D convolutions take channels-last tensors on `device`; on MPS that is not certain."""
    return device.type in ("cpu", "cuda")


def _cpu_has_bf16() -> bool:
    """Return whether this CPU multiplies bf16 in hardware, as far as Linux tells; elsewhere float32 is safe."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
