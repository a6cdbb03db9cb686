"""Errors put into telemetry's own functions, one at a time, while a training runs."""

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import FrameType

import torch
from faulty_training import train_faulty
from loops import ConvNet, records, rows_of
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

import telemetry.capture
from telemetry import TelemetryCallback
from telemetry.capture.data import loaders
from telemetry.capture.gradients import clipping, scaler
from telemetry.capture.steps import backward, schedulers
from telemetry.finding import Finding, Severity
from telemetry.format.live_findings import LiveFindings

CAPTURE = Path(telemetry.capture.__file__).parent
# What catches errors cannot be tested by raising them in itself.
OF_THE_GUARD = {"guard.py", "contained.py"}

FINDING = Finding(detector="d", severity=Severity.ERROR, message="m", advice="a")
FOUND = LiveFindings(findings=(FINDING,), exact=frozenset({"d"}), n_steps=1)
Function = tuple[str, str]  # file below `capture/` and qualified name


class InjectedError(Exception):
    """Raised at the first call of a function."""


class Reader(nn.Module):
    """Embedding, recurrence, attention in two forms, a functional activation."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.rnn = nn.LSTM(8, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, _ = self.rnn(self.embed(tokens))
        hidden = hidden + self.attention(hidden, hidden, hidden, need_weights=False)[0]
        heads = hidden[:, None]
        hidden = hidden + functional.scaled_dot_product_attention(heads, heads, heads)[:, 0]
        return self.head(functional.gelu(hidden).mean(dim=1))


def train_images(watch: Callable[..., TelemetryCallback | None]) -> list[Tensor]:
    """Convolutions, AdamW, value clipping, a closure in each second step."""
    torch.manual_seed(0)
    model = ConvNet()
    data = TensorDataset(torch.randn(16, 1, 6, 6), torch.randint(4, (16,)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def step(inputs: Tensor, labels: Tensor, index: int) -> Tensor:
        def evaluate() -> Tensor:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(inputs), labels)
            loss.backward()
            return loss

        if index == 1:
            return torch.as_tensor(optimizer.step(evaluate)).detach()
        loss = evaluate()
        clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()
        return loss

    return _train(model, optimizer, data, step, watch)


def train_tokens(watch: Callable[..., TelemetryCallback | None]) -> list[Tensor]:
    """A sequence model, SGD, a loss scaler, norm clipping."""
    torch.manual_seed(0)
    model = Reader()
    # Two rows of the embedding are never drawn: their weights get no update.
    data = TensorDataset(torch.randint(9, (16, 5)), torch.randint(4, (16,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)

    def step(inputs: Tensor, labels: Tensor, index: int) -> Tensor:
        del index
        loss = functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        return loss

    return _train(model, optimizer, data, step, watch)


Scene = Callable[[Callable[..., TelemetryCallback | None]], list[Tensor]]
SCENES: dict[str, Scene] = {"images": train_images, "tokens": train_tokens}
# With a remedy each; the first has a large epsilon, the second no momentum.
FAULTY: dict[str, Scene] = {"adam": train_faulty, "sgd": partial(train_faulty, momentum=0.0)}
N_STEPS = 4


def _train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: TensorDataset,
    step: Callable[[Tensor, Tensor, int], Tensor],
    watch: Callable[..., TelemetryCallback | None],
) -> list[Tensor]:
    schedule = StepLR(optimizer, 1, 0.9)
    telemetry = watch(model, optimizer)
    for _ in range(2):
        for index, (inputs, labels) in enumerate(DataLoader(data, batch_size=8)):
            loss = step(inputs, labels, index)
            if telemetry is not None:
                telemetry.step(loss=loss, index=index)
        schedule.step()
        with torch.no_grad():
            validation = functional.cross_entropy(model(inputs), labels)
        if telemetry is not None:
            telemetry.log(val_loss=validation)
    if telemetry is not None:
        telemetry.close()
    state = [tensor.clone() for tensor in model.state_dict().values()]
    for entry in optimizer.state.values():
        state += [value.clone() for value in entry.values() if isinstance(value, Tensor)]
    return [*state, torch.get_rng_state()]


@dataclass
class Injection:
    """What a training with an error in it came to.

    Attributes:
        state: Of the training at its end.
        warnings: Messages that telemetry logged.
        failed: Parts that were switched off, as the run tells.
        n_steps: Rows of `steps`.
        n_tensor_rows: Rows of `tensor_stats`.
        n_module_rows: Rows of `module_stats`.
    """

    state: list[Tensor]
    warnings: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    n_steps: int = 0
    n_tensor_rows: int = 0
    n_module_rows: int = 0


def functions_called(scene: str, store: Path, *, remedy: str = "") -> list[Function]:
    """Functions of the capture half that a training calls on its thread, sorted."""
    found: set[Function | None] = set()
    with _traced(lambda frame: found.add(_function_of(frame)), remedy) as watch:
        {**SCENES, **FAULTY}[scene](watch(store))
    return sorted(function for function in found if function is not None)


def injected(scene: str, function: Function, store: Path, *, remedy: str = "") -> Injection:
    """Train with an error at the first call of a function."""
    is_armed = True

    def raise_once(frame: FrameType) -> None:
        nonlocal is_armed
        if is_armed and function == _function_of(frame):
            is_armed = False
            raise InjectedError(f"injected into {function}")

    with _logged() as warnings, _traced(raise_once, remedy) as watch:
        state = {**SCENES, **FAULTY}[scene](watch(store))
    result = Injection(state=state, warnings=warnings)
    runs = list(store.glob("project=*/run=*"))
    if runs:
        (run,) = runs
        messages = [
            str(row["message"])
            for row in records(run, "events")
            if row["kind"] == "telemetry_error"
        ]
        result.failed = [message.split(" switched off", 1)[0] for message in messages]
        result.n_steps = rows_of(run, "steps").num_rows
        result.n_tensor_rows = rows_of(run, "tensor_stats").num_rows
        result.n_module_rows = rows_of(run, "module_stats").num_rows
    return result


def _function_of(frame: FrameType) -> Function | None:
    """The function that a frame is of, if an error may be put into it."""
    code = frame.f_code
    return _named(code.co_filename, code.co_qualname, code.co_flags)


@cache  # asked for each call that torch and telemetry make, 20,000 times in a training
def _named(filename: str, name: str, flags: int) -> Function | None:
    path = Path(filename)
    inside = path.is_relative_to(CAPTURE) and path.name not in OF_THE_GUARD
    # A generator is entered once more when it is thrown away, where nobody can catch anything.
    is_generator = flags & inspect.CO_GENERATOR
    if not inside or is_generator or name.rpartition(".")[2].startswith("<"):
        return None
    return str(path.relative_to(CAPTURE)), name


@contextmanager
def _traced(
    on_call: Callable[[FrameType], object],
    remedy: str,
) -> Iterator[Callable[[Path], Callable[..., TelemetryCallback]]]:
    """Calls `on_call` with each frame that this thread enters, once a callback was made."""
    former = sys.gettrace()

    def trace(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            on_call(frame)

    def watch(store: Path) -> Callable[..., TelemetryCallback]:
        def make(model: nn.Module, optimizer: torch.optim.Optimizer) -> TelemetryCallback:
            made = TelemetryCallback(
                model,
                optimizer,
                store=store,
                every=1,
                overhead_budget=None,
                on_finding=id,
                remedy=remedy or (),
            )
            assert made._recording is not None
            made._recording.news.post(FOUND)  # as a child would have found it
            sys.settrace(trace)
            return made

        return make

    try:
        yield watch
    finally:
        sys.settrace(former)
        # An error at its own end leaves an observer where it is; the next training is without.
        for observer in clipping._functions.observers:
            observer.close()
        for observers, forget in (
            (backward._observers.present, backward.forget),
            (loaders._methods.observers, loaders.forget),
            (scaler._methods.observers, scaler.forget),
            (schedulers._methods.observers, schedulers._methods.forget),
        ):
            for observer in tuple(observers):
                forget(observer)


@contextmanager
def _logged() -> Iterator[list[str]]:
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("telemetry")
    handler = Keep(logging.WARNING)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
