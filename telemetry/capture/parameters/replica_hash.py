"""A hash of the weights that all ranks hold alike, at steps that do not depend on any sampling.

Which steps are sampled is decided by each rank from its own times, so two ranks may share few of
them. Step 0, the powers of two and each hundredth are the same on all ranks. The hash is a sum of
bits: it comes out the same in whatever order a device adds, and any changed weight changes it but
for collisions modulo 2^64. It stays on its device until the writer thread brings it over.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from telemetry.capture.environment.ranks import rank_and_world_size
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.tensors.plain import is_sharded, plain
from telemetry.capture.tensors.position_hash import splitmix64
from telemetry.capture.tensors.sample_plan import plan_tensor, sampled

COLUMN = "replica_hash"
EVERY = 100
# Elements of one tensor, blocks spread over it beyond: gradients that are not reduced move a whole
# tensor, and one thread of a CPU reads half a billion weights a second.
MAX_ELEMENTS = 1 << 20
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
SHARDING_WRAPPER = "FullyShardedDataParallel"  # its parameters are parts and do not say so


class ReplicaHash(StepObserver):
    """Fills `replica_hash` where there are several ranks; one process pays nothing."""

    part: ClassVar[str] = "replica_hash"
    at_rest: ClassVar[frozenset[str]] = frozenset({"before_step", "step_ended"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._multipliers: dict[torch.device, Tensor] = {}

    def attached(self) -> None:
        """Watch the steps if others hold the same weights."""
        _, world_size = rank_and_world_size()
        wrapped = any(type(m).__name__ == SHARDING_WRAPPER for m in self.around.model.modules())
        if world_size > 1 and not wrapped:
            self.wake("step_ended")
            if self.around.optimizers and is_fixed(self.around.ledger.current.step):
                self.wake("before_step")

    def before_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """The weights are those of this step's forward."""
        del optimizer
        self.rest("before_step")
        if is_fixed(record.step):
            self._hash(record)

    def step_ended(self, record: StepRecord) -> None:
        """Be told of the next step if it is one; where no optimizer steps, this is the moment."""
        if not self.around.optimizers:
            if is_fixed(record.step):
                self._hash(record)
        elif is_fixed(record.step + 1):
            self.wake("before_step")

    def _hash(self, record: StepRecord) -> None:
        with torch.no_grad():
            sums: dict[torch.device, list[Tensor]] = {}
            for values in replicated(self.around.model):
                sums.setdefault(values.device, []).append(bit_sum(values))
            parts = [self._joined(device, each) for device, each in sums.items()]
            if parts:
                record.values[COLUMN] = torch.stack(
                    [part.to(parts[0].device, non_blocking=True) for part in parts]
                ).sum()

    def _joined(self, device: torch.device, sums: Sequence[Tensor]) -> Tensor:
        """One number of those of several tensors, which tells if two were exchanged."""
        multipliers = self._multipliers.get(device)
        if multipliers is None or len(multipliers) < len(sums):
            words = splitmix64(np.arange(2 * len(sums))) | 1  # odd: an even one would lose bits
            self._multipliers[device] = multipliers = torch.from_numpy(words).to(device)
        return (torch.stack(tuple(sums)) * multipliers[: len(sums)]).sum()


def is_fixed(step: int) -> bool:
    """Whether every rank hashes this step: 0, the powers of two, each hundredth."""
    return step % EVERY == 0 or step & (step - 1) == 0


def replicated(model: nn.Module) -> Iterator[Tensor]:
    """The trainable parameters that every rank holds whole, as far as they can be read."""
    for parameter in model.parameters():
        if not parameter.requires_grad or is_lazy(parameter) or is_sharded(parameter):
            continue
        values = plain(parameter)
        if values is not None:
            yield values.detach()


def bit_sum(values: Tensor) -> Tensor:
    """The sum of the bits of a tensor as integers of its width, modulo 2^64, 0-d.

    Args:
        values: Strided and real.
    """
    if values.numel() > MAX_ELEMENTS:
        values = sampled(plan_tensor(values, MAX_ELEMENTS), values)
    return values.view(INTEGERS[values.element_size()]).sum()  # of any width into 64 bits
