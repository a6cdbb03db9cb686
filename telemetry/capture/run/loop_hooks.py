"""The hooks by which a recording sees the loop: on its model, backward passes and optimizers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer

from telemetry.capture.activations.watch import ModuleWatch
from telemetry.capture.run.quiet_steps import QuietSteps
from telemetry.capture.steps import backward, entry_hook, optimizer_hooks

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


class LoopHooks:
    """Those of one recording.

    Args:
        steps: Is told of each moment.
    """

    def __init__(self, steps: QuietSteps) -> None:
        self._steps = steps
        self._handles: list[RemovableHandle] = []

    def install(
        self, model: nn.Module, optimizers: Sequence[Optimizer], modules: ModuleWatch
    ) -> None:
        """Hook these; the modules may leave hooks of their own."""
        for index, optimizer in enumerate(optimizers):
            self._handles.extend(optimizer_hooks.install(index, optimizer, self._steps))
        self._handles.append(
            optimizer_hooks.install_for_others(optimizers, self._steps.other_steps)
        )
        entries = entry_hook.lasting_entries(model)
        observer = self._steps.forward_begins
        self._handles.extend(entry_hook.hook_entry(entry, observer) for entry in entries)
        self._handles.extend(modules.attach(entries))
        backward.observe(self._steps.backward_begins)

    def remove(self) -> None:
        """Leave no hook."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        backward.forget(self._steps.backward_begins)
