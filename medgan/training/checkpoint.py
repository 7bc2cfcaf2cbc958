"""Models and training states on disk. Nothing here needs pickle: safetensors for models, weights-only for states."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from medgan.errors import MedganError
from medgan.files import atomic_path

STATE_VERSION = 1
_DIGEST = "medgan_sha256"  # the only key of the metadata, whose order safetensors leaves to chance
_MAGIC = b"medgan training state\n"  # followed by the SHA-256 of the rest: torch.load takes flipped bits for weights


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Write a network's weights as safetensors, atomically, with a digest of their content that loading checks."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={_DIGEST: _digest(tensors)}))


def load_weights(network: nn.Module, path: str | Path) -> str:
    """Load weights that `save_weights` wrote into a network of the same shape; return the digest of their content.

    Raises:
        MedganError: if the file is missing or damaged, is not medgan's, or does not fit the network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except (OSError, SafetensorError) as error:
        raise MedganError(f"weights {path} could not be read: {error}. Train again or copy the file again.") from error
    if _DIGEST not in metadata:
        raise MedganError(f"weights {path}: must have been written by medgan, found no digest of its content.")
    digest = _digest(tensors)
    if metadata[_DIGEST] != digest:
        raise MedganError(f"weights {path}: content does not match its own digest, so the file is damaged.")
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise MedganError(f"weights {path}: do not fit the model's config.yaml: {first}") from error
    return digest


def save_state(state: dict[str, Any], path: str | Path) -> None:
    """Write a training state (nested dicts and lists of tensors, numbers and texts), atomically, with a digest."""
    buffer = io.BytesIO()
    torch.save({"version": STATE_VERSION, **state}, buffer)
    content = buffer.getbuffer()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_MAGIC + hashlib.sha256(content).digest())
        file.write(content)


def load_state(path: str | Path, *, fingerprint: str | None = None) -> dict[str, Any]:
    """Return the training state that `save_state` wrote.

    Args:
        path: the state.
        fingerprint: of the data and settings to go on with, which must be the state's; None takes any.

    Raises:
        MedganError: if the file is missing or damaged, or is of another version, other data or other settings.
    """
    path = Path(path)
    if not path.is_file():
        raise MedganError(f"{path} does not exist, so there is no training to resume; train without --resume.")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise MedganError(f"training state {path} could not be read: {error.strerror or error}.") from error
    start = len(_MAGIC) + hashlib.sha256().digest_size
    content = raw[start:]
    if raw[:start] != _MAGIC + hashlib.sha256(content).digest():
        raise MedganError(
            f"training state {path} is damaged: its content does not match its own digest; copy it again, or train "
            "into a new folder."
        )
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything on what is no state; all of it means the same to a user
        raise MedganError(f"training state {path} is damaged: {str(error).splitlines()[0]:.120}.") from error
    if not isinstance(state, dict) or state.get("version") != STATE_VERSION:
        found = state.get("version") if isinstance(state, dict) else type(state).__name__
        raise MedganError(f"training state {path}: must be of version {STATE_VERSION}, found {found}.")
    if fingerprint is not None and state.get("fingerprint") != fingerprint:
        raise MedganError(
            f"training state {path}: was written with other data or settings; resume with the config of that run (its "
            "folder's config.yaml), or train into a new folder."
        )
    return state


def read_json(path: str | Path) -> dict[str, Any]:
    """Return a JSON object of a model folder.

    Raises:
        MedganError: if the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MedganError(f"{path} could not be read as JSON: {error}.") from error
    if not isinstance(value, dict):
        raise MedganError(f"{path} must hold a JSON object, found {type(value).__name__}.")
    return value


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
