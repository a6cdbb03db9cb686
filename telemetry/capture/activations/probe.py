"""Activations of a fixed batch: an eager forward beside the training, on sampled steps.

Under torch.compile the operations of a forward are hidden. A probe runs the un-compiled module on
a batch that the user chose, before the optimizer moves the weights, and leaves no trace of it. Its
rows have the phase `probe`: the batch is always the same, so they say how activations change, and
not what the training data do to them.
"""

from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

from telemetry.capture.activations.observer import ModuleObserver
from telemetry.capture.activations.records import PROBE
from telemetry.capture.isolation.forward_checks import Parameters, check_alone, check_reads_only
from telemetry.capture.isolation.torch_state import forward_is_plain
from telemetry.capture.isolation.without_side_effects import undisturbed
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.steps.probe_batch import ProbeBatch


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
        check_alone(model)
        check_reads_only(model)
        parameters = Parameters(model, keep=self._is_first)
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
