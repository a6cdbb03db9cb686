"""The way of values from their device to the host, and what the host may read at once.

The training thread never waits for a device. It may read a CPU tensor, which is memory of its own;
everything else it packs, and the writer thread brings it over.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.tensors.sample_plan import AnyFloatArray

_Group = tuple[torch.device, torch.dtype, bool]


def on_host(values: Tensor) -> bool:
    """Whether `numpy()` shows the values without waiting for a device."""
    return values.device.type == "cpu"


def is_known_finite(values: Tensor) -> bool:
    """Whether the host can tell at once that no element is NaN or infinite.

    An accelerator is not asked, for that would wait for it; a sum or norm of finite elements that
    overflows only leads to the longer way.

    Args:
        values: A sum or a norm, or a few of them.
    """
    if not on_host(values):
        return False
    host = (values.float() if values.dtype is torch.bfloat16 else values).numpy()
    return math.isfinite(host) if host.ndim == 0 else bool(np.isfinite(host).all())


def as_known(value: Tensor | float) -> Tensor | float:
    """A value as it is now, cut off from its graph: a number where the host has it already.

    Args:
        value: A number or a tensor.
    """
    if type(value) is Tensor and value.is_cpu and not value.dim():
        # Memory of the host: nothing is waited for. Half the time of `detach`, and the writer
        # thread has nothing left to stack.
        number: complex = value.tolist()  # type: ignore[assignment]  # no list
        return float(number.real)
    if not isinstance(value, Tensor):
        return value
    # What has a graph was just computed; what has none may be a sum that the loop goes on with.
    return value.detach() if value.requires_grad else value.clone()


def as_kept(value: Tensor | float) -> Tensor | float:
    """As `as_known`, of what the loop or a scheduler may write into later: a copy on its device."""
    return as_known(value.detach() if isinstance(value, Tensor) else value)


def host_number(value: Tensor | float) -> float | None:
    """A number that the host has already, None while it is on another device.

    Args:
        value: A number, or a tensor of a few values, whose mean counts.
    """
    if not isinstance(value, Tensor):
        return float(value)
    if not value.is_cpu:
        return None
    try:
        return float(value.numpy())  # of one float, the common case
    except (TypeError, RuntimeError):
        value = value.detach()
    plain = value.real if value.is_complex() else value
    return float(plain.double().mean().numpy())


class Readiness:
    """A moment of training's streams: once it has passed, tensors made before may be read.

    Args:
        devices: Where the tensors lie; only CUDA runs behind the host.
    """

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self._events = [_recorded_event(device) for device in devices if device.type == "cuda"]

    def wait(self) -> None:
        """Wait for it; on the writer thread."""
        for event in self._events:
            event.synchronize()


def _recorded_event(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


class PackedTensors:
    """Small tensors joined per device and dtype, so that few transfers bring them to the host.

    Made on the training thread, which only launches the joining; `arrays` is for the writer
    thread.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        groups: dict[_Group, list[Tensor]] = {}
        ends: dict[_Group, int] = {}
        self._slots: list[tuple[_Group, int, int]] = []
        host = torch.device("cpu")
        for tensor in tensors:
            # To ask for the device takes as long as all the rest.
            n_dims = tensor.dim()
            key = (host if tensor.is_cpu else tensor.device, tensor.dtype, n_dims == 0)
            group = groups.get(key)
            if group is None:
                group = groups[key] = []
                ends[key] = 0
            group.append(tensor if n_dims < 2 else tensor.flatten())  # noqa: PLR2004 - flat
            start = ends[key]
            ends[key] = stop = start + (tensor.numel() if n_dims else 1)
            self._slots.append((key, start, stop))
        self._joined = {
            key: torch.stack(group) if key[2] else torch.cat(group) for key, group in groups.items()
        }
        self._ready = Readiness(key[0] for key in groups)

    @property
    def n_bytes(self) -> int:
        """Memory of the joined tensors."""
        return sum(joined.numel() * joined.element_size() for joined in self._joined.values())

    def arrays(self) -> list[AnyFloatArray]:
        """The tensors on the host in their order, flat; waits for the device."""
        self._ready.wait()
        host = {key: _host_array(joined) for key, joined in self._joined.items()}
        return [host[key][start:stop] for key, start, stop in self._slots]


def _host_array(values: Tensor) -> AnyFloatArray:
    host = values.cpu()  # on the writer thread, after the event: the one place that waits
    # numpy has no bfloat16.
    array: AnyFloatArray = (host.float() if host.dtype is torch.bfloat16 else host).numpy()
    return array
