"""Activations of a fixed batch: an eager forward beside the training, on sampled steps.

Under torch.compile the operations of a forward are hidden. A probe runs the un-compiled module on
a batch that the user chose, before the optimizer moves the weights, and leaves no trace of it. Its
rows have the phase `probe`: the batch is always the same, so they say how activations change, and
not what the training data do to them.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from telemetry.capture.module_nodes import forward_is_plain
from telemetry.capture.module_observation import PROBE
from telemetry.capture.observe_modules import ModuleObserver
from telemetry.capture.probe_batch import ProbeBatch
from telemetry.capture.step_ledger import StepRecord
from telemetry.capture.step_observer import StepObserver, Surroundings
from telemetry.capture.undisturbed import undisturbed


class ProbeObserver(StepObserver):
    """Runs the probe once in each sampled step."""

    part: ClassVar[str] = "probe"
    at_rest: ClassVar[frozenset[str]] = frozenset({"step_ended"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._batch = around.options.probe or ProbeBatch()
        self._modules = ModuleObserver(around.model, runs_eagerly=True)
        self._last_step = -1
        self._is_first = True

    def sample_begins(self, record: StepRecord) -> None:
        """Its end is the last occasion."""
        del record
        self.wake("step_ended")

    def before_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """The weights are still those of this step's forward."""
        del optimizer
        self._probe(record)

    def step_ended(self, record: StepRecord) -> None:
        """Loops without an optimizer, or with one that steps inside the backward pass."""
        self._probe(record)
        self.rest("step_ended")

    def _probe(self, record: StepRecord) -> None:
        if record.step == self._last_step or not forward_is_plain():
            return
        self._last_step = record.step
        model = self.around.model
        _check_alone(model)
        parameters = _Parameters(model, keep=self._is_first)
        try:
            self._run(model, record.step)
        finally:
            parameters.check()
        if self._is_first:
            self._is_first = False
            self.around.catalogue.set_execution_order(self._modules.execution_order)

    def _run(self, model: nn.Module, step: int) -> None:
        device = next((p.device for p in model.parameters()), None)
        batch = self._batch.copied(device)
        with undisturbed(model):
            self._modules.begin(step)
            try:
                model(*batch.args, **batch.kwargs)
            finally:
                self._modules.settle(PROBE)
                packet = self._modules.end()
        if packet is not None:
            self.around.put(packet)


class _Parameters:
    """Notices a forward that writes into parameters, which nothing else would put back.

    Args:
        model: Owns them.
        keep: Hold copies, so that they can be put back.
    """

    def __init__(self, model: nn.Module, *, keep: bool) -> None:
        self._named = [
            (name, p, p._version)  # noqa: SLF001
            for name, p in model.named_parameters()
            if not is_lazy(p)
        ]
        self._kept = [p.detach().clone() for _, p, _ in self._named] if keep else []

    def check(self) -> None:
        """Put them back.

        Raises:
            RuntimeError: one was written.
        """
        written = [name for name, p, version in self._named if p._version != version]  # noqa: SLF001
        for (name, parameter, _), kept in zip(self._named, self._kept, strict=False):
            if name not in written and _are_same(parameter, kept):
                continue
            parameter.data.copy_(kept)  # autograd need not know of what was never changed
            written.append(name)
        if written:
            raise RuntimeError(
                f"the forward writes into {written[0]}; such a model cannot be probed."
            )


def _are_same(parameter: Tensor, kept: Tensor) -> bool:
    """Whether the values are the same; taken for granted on a device that would be waited for."""
    if parameter.device.type != "cpu":
        return True
    values = parameter.detach()
    return torch.equal(values, kept) or bool(((values == kept) | (values != values)).all())  # noqa: PLR0124


def _check_alone(model: nn.Module) -> None:
    """Raise for a forward that needs other processes, which may not be running it too."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    if distributed.get_world_size() > 1 and _needs_others(tuple(model.modules())):
        raise RuntimeError(
            "the forward communicates (SyncBatchNorm or sharded parameters); a probe runs alone."
        )


def _needs_others(modules: Sequence[nn.Module]) -> bool:
    return any(
        isinstance(module, nn.SyncBatchNorm)
        or type(module).__name__.startswith("FSDP")
        or any(hasattr(p, "device_mesh") for p in module.parameters(recurse=False))
        for module in modules
    )
