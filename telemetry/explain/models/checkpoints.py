"""Checkpoints: read without running what is pickled in them, and loaded whole or not at all."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.names import kind_of
from telemetry.requests.models import file_digest

STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "ema")
STEP_KEYS = ("step", "global_step")
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
MOST_NAMES = 5  # of an error

_FOREIGN = re.compile(r"GLOBAL ([\w.]+)")  # how torch names what it refuses


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """Weights of one file.

    Attributes:
        path: The file.
        digest: First 16 characters of its sha256.
        step: Training step that is written in it; None where it says none.
        state: Tensors by name, prefixes of wrappers removed.
    """

    path: Path
    digest: str
    step: int | None
    state: Mapping[str, Tensor]


def read_checkpoint(path: Path, *, state_key: str | None = None) -> Checkpoint:
    """The weights in a file that `torch.save` or safetensors wrote, on the host.

    Args:
        path: The file.
        state_key: Under which key of the dictionary they lie, where that is not plain.

    Raises:
        UsageError: missing, pickled, torn, or without a state dict that is one for certain.
    """
    content = _content(path)
    found = _state(content, path, state_key)
    return Checkpoint(
        path=path, digest=file_digest(path), step=_step(content), state=_without_prefix(found)
    )


def load_state(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Load the weights into a model, all of them.

    Raises:
        UsageError: names or shapes differ; the first five of each kind are named.
    """
    own = model.state_dict()
    state = _of_attribute(checkpoint.state, own)
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {_shape(tensor)} in the file, {_shape(own[name])} in the model"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    complaints = [f"{kind}: {_some(names)}" for kind, names in kinds if names]
    if complaints:
        raise UsageError(
            f"{checkpoint.path}: not a checkpoint of this model ({'; '.join(complaints)}); check "
            "--model and --model-args."
        )
    model.load_state_dict(dict(state), strict=True)


def _content(path: Path) -> object:
    if not path.is_file():
        raise UsageError(f"{path}: no such checkpoint.")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # measured: UnpicklingError, RuntimeError, KeyError, EOFError ...
        foreign = _FOREIGN.search(str(error))
        if foreign is not None:
            raise UsageError(
                f"{path}: contains a {foreign[1]}; anything but tensors is not read because it "
                "could run code. Save model.state_dict()."
            ) from error
        raise UsageError(
            f"{path}: cannot be read as weights ({type(error).__name__}); it is incomplete, or "
            "was not written by torch.save. Save model.state_dict()."
        ) from error


def _safetensors(path: Path) -> object:
    try:
        from safetensors.torch import load_file  # noqa: PLC0415 - a package that may be missing
    except ImportError as error:
        raise UsageError(
            f"{path}: needs the package safetensors, which is not installed."
        ) from error
    try:
        return load_file(path)
    except Exception as error:  # its errors share no base class
        raise UsageError(
            f"{path}: cannot be read as safetensors ({type(error).__name__})."
        ) from error


def _state(content: object, path: Path, state_key: str | None) -> Mapping[str, Tensor]:
    if not isinstance(content, Mapping):
        raise UsageError(
            f"{path}: contains {kind_of(content)}, expected a state dict; save model.state_dict()."
        )
    if state_key is not None:
        entry = content.get(state_key, _below(content, state_key))
        found = _as_state(entry)
        if found is None:
            raise UsageError(f"{path}: no state dict under {state_key!r}; {_keys(content)}.")
        return found
    whole = _as_state(content)
    if whole is not None:
        return whole
    parts = [part for key in STATE_KEYS if (part := _as_state(content.get(key))) is not None]
    if len(parts) != 1:
        raise UsageError(f"{path}: it is not clear which entry is the model. {_which(content)}.")
    return parts[0]


def _as_state(value: object) -> Mapping[str, Tensor] | None:
    """The value if it is tensors by name, at least one."""
    if not isinstance(value, Mapping) or not value:
        return None
    are_tensors = all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    return value if are_tensors else None


def _below(content: object, key: str) -> object:
    """What lies under `outer.inner` of nested dictionaries; None: nothing."""
    for part in key.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content


def _which(content: Mapping[object, object]) -> str:
    found = _state_keys(content)
    if not found:
        return f"None looks like a state dict: {_keys(content)}; save model.state_dict()"
    return f"Use --state-key {' or '.join(found)}"


def _state_keys(content: Mapping[object, object], prefix: str = "") -> list[str]:
    """Keys of all state dicts in nested dictionaries, as --state-key takes them."""
    found = []
    for key, value in content.items():
        if not isinstance(key, str):  # of an optimizer, by number
            continue
        if _as_state(value) is not None:
            found.append(f"{prefix}{key}")
        elif isinstance(value, Mapping):
            found += _state_keys(value, f"{prefix}{key}.")
    return found


def _keys(content: Mapping[object, object]) -> str:
    return f"it contains {_some([str(key) for key in content])}" if content else "it is empty"


def _step(content: object) -> int | None:
    if not isinstance(content, Mapping):
        return None
    for key in STEP_KEYS:
        value = content.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _without_prefix(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Names as in the bare model: what a wrapper puts before every one of them is removed."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _without_prefix({n.removeprefix(prefix): t for n, t in state.items()})
    return state


def _of_attribute(state: Mapping[str, Tensor], own: Iterable[str]) -> Mapping[str, Tensor]:
    """Names without the attribute of a trainer that held the model, where they then are its own.

    Lightning's `self.model = ...` makes `model.` of every name.
    """
    prefix = f"{next(iter(state)).split('.')[0]}."
    bare = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return bare if bare.keys() == set(own) and bare.keys() != state.keys() else state


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(every[:MOST_NAMES]) + more
