"""Observations of modules on their way to the writer: packed on their device, then unpacked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from telemetry.capture.module_observation import Label, Measures, Observation
from telemetry.capture.module_rows import module_table
from telemetry.capture.statistics.dead_bitmap import DeadWindows

NAMES = Measures._fields
LABEL_BYTES = 512  # a label and its place in the pack

Group: TypeAlias = tuple[torch.device, torch.dtype, bool]
FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulePacket:
    """Observations of settled forwards; a `Packet`.

    `windows` is shared by the packets of one run, whose rows are made in order on one thread.
    """

    labels: tuple[Label, ...]
    names: tuple[tuple[str, ...], ...]
    packed: "PackedTensors"
    windows: DeadWindows

    @classmethod
    def of(
        cls, observations: Sequence[Observation[Tensor]], windows: DeadWindows
    ) -> "ModulePacket":
        """The packet of at least one observation, whose small tensors it joins into few."""
        present = [
            [
                (name, tensor)
                for name, tensor in zip(NAMES, o.measures, strict=True)
                if tensor is not None
            ]
            for o in observations
        ]
        return cls(
            labels=tuple(observation.label for observation in observations),
            names=tuple(tuple(name for name, _ in values) for values in present),
            packed=PackedTensors([v for values in present for _, v in values if v is not None]),
            windows=windows,
        )

    @property
    def n_bytes(self) -> int:
        """Memory held until it is written."""
        return self.packed.n_bytes + LABEL_BYTES * len(self.labels)

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """Rows of `module_stats`, one per step, phase, module and site; waits for the device."""
        arrays = iter(self.packed.arrays())
        observations = [
            Observation(label=label, measures=Measures(**{name: next(arrays) for name in names}))
            for label, names in zip(self.labels, self.names, strict=True)
        ]
        yield "module_stats", module_table(observations, self.windows)


class PackedTensors:
    """Small tensors joined per device and dtype, so that few transfers bring them to the host."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        groups: dict[Group, list[Tensor]] = {}
        ends: dict[Group, int] = {}
        self._slots: list[tuple[Group, int, int]] = []
        for tensor in tensors:
            key = (tensor.device, tensor.dtype, tensor.dim() == 0)
            groups.setdefault(key, []).append(tensor)
            start = ends.get(key, 0)
            ends[key] = start + tensor.numel()
            self._slots.append((key, start, ends[key]))
        self._joined = {
            key: torch.stack(group) if key[2] else torch.cat(group) for key, group in groups.items()
        }
        self._ready = [_recorded_event(key[0]) for key in groups if key[0].type == "cuda"]

    @property
    def n_bytes(self) -> int:
        """Memory of the joined tensors."""
        return sum(joined.numel() * joined.element_size() for joined in self._joined.values())

    def arrays(self) -> list[FloatArray]:
        """The tensors on the host in their order, flat; waits for the device."""
        for event in self._ready:
            event.synchronize()
        host = {key: _host_array(joined) for key, joined in self._joined.items()}
        return [host[key][start:stop] for key, start, stop in self._slots]


def _recorded_event(device: torch.device) -> torch.cuda.Event:
    """Passed once the stream that training uses has made the tensors; the writer waits for it."""
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def _host_array(values: Tensor) -> FloatArray:
    # numpy has no bfloat16.
    host = values.cpu()
    return np.asarray((host.float() if host.dtype is torch.bfloat16 else host).numpy(), np.float64)
