"""One more forward, and backward, of a batch, to see where its values stop being finite.

It runs beside the training: on copies of what the forward was given, with the random state that it
began with, and everything it may change put back. The loss is not known to the model, so the
backward starts from ones at the outputs: a derivative that is not finite is so for any gradient
that arrives at it, and where none is, the loss is what is left.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from telemetry.capture.catalogue.catalogue import clean_path, unwrap
from telemetry.capture.isolation.forward_checks import Parameters, check_alone, check_reads_only
from telemetry.capture.isolation.without_side_effects import undisturbed
from telemetry.capture.nonfinite.flow import Birth, Flow, current_node, tally_of
from telemetry.capture.nonfinite.origin import What
from telemetry.capture.steps.probe_batch import ProbeBatch
from telemetry.capture.tensors.inputs import tensors_in


class KeptForward(NamedTuple):
    """What a forward needs to be run again; nothing is copied. A tuple, for one is made each step.

    Attributes:
        module: Through which it entered the model.
        args: Of its forward.
        kwargs: Of its forward.
        random_state: Of the CPU's generator when it began; None where nothing is drawn.
        device_state: Of the generator of the parameters' device; None as above, and on a CPU.
        autocast: The type it computes in where it may; None: autocast is off.
    """

    module: nn.Module
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    random_state: Tensor | None
    device_state: Tensor | None
    autocast: torch.dtype | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a pass showed.

    Attributes:
        birth: Of the first bad value that led to an output or to the gradient of a parameter.
        is_bad: Whether there was one.
    """

    birth: Birth | None
    is_bad: bool


def seen_in_forward(model: nn.Module, forward: KeptForward) -> Seen:
    """Run it without gradient, and look at what the model returns."""
    with _beside_training(model, forward, gradient=False) as flow:
        return _seen(flow, flow.run())


def seen_in_backward(
    model: nn.Module, forward: KeptForward, bad: Collection[int], *, only: bool
) -> Seen:
    """Run it with gradient, and look at the gradients of the parameters.

    Args:
        model: Unwrapped.
        forward: Of the step.
        bad: Identities of the parameters whose gradients are not finite in the training.
        only: Whether those are all that a bad gradient had reached; clipping may have spread it.

    Returns:
        What would explain them: nothing, if some of them are finite here.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    with _beside_training(model, forward, gradient=True) as flow, _without_hooks(parameters):
        outputs = [t for t in flow.run() if t.requires_grad]
        gradients = torch.autograd.grad(
            outputs, parameters, [torch.ones_like(t) for t in outputs], allow_unused=True
        )
        known = zip(parameters, gradients, strict=True)
        found = [g for p, g in known if g is not None and id(p) in bad]
        if only and not all(tally_of(gradient).is_bad for gradient in found):
            return Seen(birth=None, is_bad=False)
        return _seen(flow, found)


def _seen(flow: "_Run", tensors: Sequence[Tensor]) -> Seen:
    is_bad = any(tally_of(tensor).is_bad for tensor in tensors)
    return Seen(birth=flow.flow.origin_of(tensors), is_bad=is_bad)


@contextmanager
def _beside_training(model: nn.Module, forward: KeptForward, *, gradient: bool) -> "Iterator[_Run]":
    check_alone(model)
    check_reads_only(model)
    run = _Run(model, forward, gradient=gradient)
    parameters = Parameters(model, keep=True)
    try:
        with (
            undisturbed(model, gradient=gradient, autocast=forward.autocast),
            torch.autograd.set_detect_anomaly(mode=False, check_nan=False),
            run.hooked(),
        ):
            _set_random_state(model, forward)
            yield run
    finally:
        parameters.check()


def _set_random_state(model: nn.Module, forward: KeptForward) -> None:
    if forward.random_state is not None:
        torch.set_rng_state(forward.random_state)
    if forward.device_state is not None:
        device = next(p.device for p in model.parameters())
        torch.get_device_module(device).set_rng_state(forward.device_state, device)


@contextmanager
def _without_hooks(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Hooks of the loop on gradients are not run: what they do could not be taken back."""
    with ExitStack() as stack:
        for parameter in parameters:
            hooks = parameter._backward_hooks  # noqa: SLF001 - no public name
            if hooks:
                stack.callback(hooks.update, dict(hooks))
                hooks.clear()
        yield


@dataclass(frozen=True, slots=True)
class _Span:
    """The numbers of the autograd nodes made while the forward of a module ran."""

    path: str
    first: int
    stop: int


class _Run:
    """One forward under `Flow`, and which module is running."""

    def __init__(self, model: nn.Module, forward: KeptForward, *, gradient: bool) -> None:
        self.flow = Flow(self._place)
        self._model = model
        self._module = unwrap(forward.module)
        self._entry = next(
            (clean_path(path) for path, m in model.named_modules() if m is self._module), ""
        )
        batch = ProbeBatch(args=forward.args, kwargs=forward.kwargs)
        self._batch = batch.copied(None)
        if gradient:
            _require_gradients(batch, self._batch)
        self._open: list[tuple[str, int]] = []
        self._spans: list[_Span] = []

    def run(self) -> list[Tensor]:
        """The tensors that the model returns."""
        args, kwargs = self._batch.args, self._batch.kwargs
        for tensor in tensors_in((args, kwargs)):
            self.flow.planted(tensor, What.INPUT, self._entry)
        for name, buffer in self._model.named_buffers():
            self.flow.planted(buffer, What.WEIGHT, clean_path(name))
        output: object = self._module(*args, **kwargs)
        return [t for t in tensors_in(output) if t.is_floating_point() or t.is_complex()]

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Know which module runs, and follow the values."""
        with ExitStack() as stack:
            for raw_path, module in self._model.named_modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue
                path = clean_path(raw_path)
                stack.enter_context(self._enters(module, path))
            stack.enter_context(self.flow)
            yield

    @contextmanager
    def _enters(self, module: nn.Module, path: str) -> Iterator[None]:
        def enter(*_: object) -> None:
            self._open.append((path, _next_node()))

        def leave(*_: object) -> None:
            self._leave(path)

        first = module.register_forward_pre_hook(enter)
        last = module.register_forward_hook(leave, always_call=True)
        try:
            yield
        finally:
            first.remove()
            last.remove()

    def _leave(self, path: str) -> None:
        while self._open:
            opened, first = self._open.pop()
            self._spans.append(_Span(opened, first, _next_node()))
            if opened == path:
                return

    def _place(self) -> str:
        """The innermost module that runs, or that made the node whose derivative is computed."""
        if self._open:
            return self._open[-1][0]
        node = current_node()
        if node is None:
            return ""
        number = node._sequence_nr()  # noqa: SLF001 - as above
        # The inner ones have ended first.
        return next((s.path for s in self._spans if s.first <= number < s.stop), "")


def _next_node() -> int:
    return torch._C._autograd._get_sequence_nr()  # noqa: SLF001 - no public name


def _require_gradients(batch: ProbeBatch, copies: ProbeBatch) -> None:
    given = tensors_in((batch.args, batch.kwargs))
    for tensor, copy in zip(given, tensors_in((copies.args, copies.kwargs)), strict=True):
        copy.requires_grad_(tensor.requires_grad)
