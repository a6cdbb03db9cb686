"""Observations of modules on their way to the writer: packed on their device, then unpacked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from torch import Tensor

from telemetry.capture.activations.records import Label, Measures, Observation
from telemetry.capture.activations.rows import FloatArray, module_table
from telemetry.capture.parameters.statistics.dead_bitmap import DeadWindows
from telemetry.capture.tensors.host import PackedTensors

NAMES = Measures._fields
LABEL_BYTES = 512  # a label and its place in the pack


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulePacket:
    """Observations of settled forwards; a `Packet`.

    `windows` is shared by the packets of one run, whose rows are made in order on one thread.
    """

    labels: tuple[Label, ...]
    names: tuple[tuple[str, ...], ...]
    packed: PackedTensors
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

    @property
    def companions(self) -> object:
        """Those that share their windows may be joined."""
        return id(self.windows)

    @property
    def last_step(self) -> int:
        """The last of its forwards."""
        return max(label.forward.step for label in self.labels)

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """Rows of `module_stats`, one per step, phase, module and site; waits for the device."""
        return self.rows_of([self])

    @staticmethod
    def rows_of(packets: "Sequence[ModulePacket]") -> Iterator[tuple[str, pa.Table]]:
        """The rows of several packets of one model, in their order; faster than one by one."""
        observations = [each for packet in packets for each in packet.on_host()]
        yield "module_stats", module_table(observations, packets[0].windows)

    def on_host(self) -> Iterator[Observation[FloatArray]]:
        """The observations as arrays; waits for the device."""
        arrays = iter(self.packed.arrays())
        for label, names in zip(self.labels, self.names, strict=True):
            measures = {name: np.asarray(next(arrays), np.float64) for name in names}
            yield Observation(label=label, measures=Measures(**measures))
