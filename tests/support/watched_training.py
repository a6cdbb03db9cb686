"""One training in many ways, with a callback or without, and everything that it determines."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from architectures import ARCHITECTURES, Batch
from frozen import frozen, random_states, settings_of_torch, state_of
from loops import records
from optimizers import CUDA_OPTIMIZERS, OPTIMIZERS, Update, Way
from surroundings import SURROUNDINGS, leaves
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from telemetry import TelemetryCallback
from telemetry.finding import Finding, Severity
from telemetry.format.live_findings import LiveFindings

N_STEPS = 4

# What the loop does, besides a forward, a backward and a step.
LOOPS = (
    "plain",
    "accumulation",
    "clip_norm",
    "clip_value",
    "scaler",
    "zeros",
    "evaluation",
    "scheduler",
    "gradient_penalty",
    "two_backwards",
    "caught_error",
    "averaged",
    "loader",
)

# How it is recorded. Every step unless said otherwise, whatever it costs.
RECORDINGS: dict[str, dict[str, object]] = {
    "every_step": {},
    "every_third": {"every": 3},
    "auto": {"every": "auto", "overhead_budget": 0.01},
    "no_budget": {"every": "auto", "overhead_budget": 0.0, "overhead_allowance_s": 0.0},
    "no_histograms": {"histograms": False},
    "no_activations": {"activations": False},
    "no_flight_recorder": {"flight_recorder": 0},
    "lenient": {"strict": False},
    "probe": {"every": 2},
    "silent": {},
    "metrics": {"total_steps": N_STEPS},
    "told": {"on_finding": id},
}
FINDING = Finding(detector="d", severity=Severity.ERROR, message="m", advice="a")
FOUND = LiveFindings(findings=(FINDING,), exact=frozenset({"d"}), n_steps=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One combination; a loop and its surroundings may do several things at once."""

    architecture: str = "mlp"
    optimizer: str = "adamw"
    loop: frozenset[str] = frozenset({"plain"})
    around: frozenset[str] = frozenset({"nothing"})
    recording: str = "every_step"
    device: str = "cpu"

    @property
    def levels(self) -> frozenset[str]:
        """All that it is made of."""
        return self.loop | self.around | {self.architecture, self.optimizer, self.recording}

    def __str__(self) -> str:
        loop, around = "+".join(sorted(self.loop)), "+".join(sorted(self.around))
        return f"{self.architecture}-{self.optimizer}-{loop}-{around}-{self.recording}"


class Training:
    """The training of a case, from seeds; `run` trains and returns what there is to compare."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - what loops use
        random.seed(0)
        self.case = case
        self.task = ARCHITECTURES[case.architecture]
        self.models = [model.to(case.device) for model in self.task.build()]
        self.called = list(self.models)
        make = {**OPTIMIZERS, **(CUDA_OPTIMIZERS if case.device == "cuda" else {})}[case.optimizer]
        self.updates = [make(model) for model in self.models]
        self.scaler = None
        if "scaler" in case.loop:  # refuses the first step, then accepts
            self.scaler = torch.amp.GradScaler(
                case.device, init_scale=2.0**127, backoff_factor=2.0**-120, growth_interval=2
            )
        self.schedulers = [
            torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
            for update in self.updates
            for optimizer in update.optimizers
            if "scheduler" in case.loop
        ]
        self.averages = [
            torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
            for model in self.models
            if "averaged" in case.loop
        ]
        self.generator = torch.Generator().manual_seed(1)
        self.probe = self._drawn(torch.Generator().manual_seed(2))
        self.log: list[object] = []  # what the loop sees while it runs
        self.callbacks: list[TelemetryCallback] = []

    def run(self, store: Path | None) -> dict[str, object]:
        """Everything that the training determines; recorded into a store or not."""
        with ExitStack() as stack:
            for name in sorted(self.case.around):
                stack.enter_context(SURROUNDINGS[name](self.models, self.log))
            if "compile" in self.case.around:
                self.called = [torch.compile(model, backend="eager") for model in self.models]
            if store is not None:
                self._open(store)
            try:
                for number, batch in enumerate(self._batches()):
                    self._step(number, batch)
            finally:
                for callback in self.callbacks:
                    callback.close()
                    recording = callback._recording
                    assert recording is None or not recording.news.waiting
            settings = settings_of_torch()
        optimizers = [optimizer for update in self.updates for optimizer in update.optimizers]
        return {
            "log": frozen(self.log),
            "models": [state_of(model) for model in self.models],
            "averages": [state_of(model) for model in self.averages],
            "optimizers": [frozen(optimizer.state_dict()) for optimizer in optimizers],
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "random": {**random_states(), "own": frozen(self.generator.get_state())},
            "settings": [settings, settings_of_torch()],
        }

    def _open(self, store: Path) -> None:
        for model, update, inputs in zip(self.models, self.updates, self.task.inputs, strict=True):
            options: dict[str, object] = {"every": 1, "overhead_budget": None, "strict": True}
            options |= RECORDINGS[self.case.recording]
            if self.case.recording == "probe":
                options["probe"] = inputs(self.probe)
            self.callbacks.append(
                TelemetryCallback(
                    model,
                    None if update.way is Way.BY_HAND else update.optimizers,
                    store=store,
                    **options,  # type: ignore[arg-type]
                )
            )
            if self.case.recording == "told":
                recording = self.callbacks[-1]._recording
                assert recording is not None
                recording.news.post(FOUND)  # as a child would have found it

    # --- the loop -----------------------------------------------------------------------------

    def _batches(self) -> Iterator[Batch]:
        drawn = [self._drawn(self.generator) for _ in range(N_STEPS)]
        if "loader" not in self.case.loop:
            yield from drawn
            return
        values = TensorDataset(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
        yield from DataLoader(values, batch_size=len(drawn[0][0]), shuffle=True)

    def _drawn(self, generator: torch.Generator) -> Batch:
        return tuple(part.to(self.case.device) for part in self.task.batch(generator))

    def _step(self, number: int, batch: Batch) -> None:
        for turn in range(len(self.models)):
            if "caught_error" in self.case.loop and number == 1:
                self._failing_forward(turn, batch)
            loss = self._update(turn, batch)
            self.log.append(loss.detach().clone())
            if self.callbacks and self.case.recording != "silent":
                self.callbacks[turn].step(loss=loss)
            if self.averages:
                self.averages[turn].update_parameters(self.models[turn])
            if "evaluation" in self.case.loop and number % 2:
                self._evaluate(turn, batch)
            if self.case.recording == "metrics" and self.callbacks:
                self.callbacks[turn].log(value=loss, number=number)
        for scheduler in self.schedulers:
            scheduler.step()

    def _update(self, turn: int, batch: Batch) -> Tensor:
        update = self.updates[turn]
        if update.way is Way.CLOSURE:

            def closure() -> Tensor:
                self._clear(turn)
                loss = self._backward(turn, batch)
                self._clip(turn)
                return loss

            return update.optimizers[0].step(closure)  # type: ignore[arg-type, return-value]
        if update.way is not Way.BACKWARD:
            self._clear(turn)
        loss = self._backward(turn, batch)
        if self.scaler is not None and self.case.loop & {"clip_norm", "clip_value"}:
            for optimizer in update.optimizers:
                self.scaler.unscale_(optimizer)
        self._clip(turn)
        self.log.append({name: p.grad for name, p in self.models[turn].named_parameters()})
        self._move(update, turn)
        return loss

    def _clear(self, turn: int) -> None:
        to_none = "zeros" not in self.case.loop
        if self.updates[turn].way is Way.BY_HAND:
            self.models[turn].zero_grad(set_to_none=to_none)
        for optimizer in self.updates[turn].optimizers:
            optimizer.zero_grad(set_to_none=to_none)

    def _backward(self, turn: int, batch: Batch) -> Tensor:
        n_micro = 2 if "accumulation" in self.case.loop else 1
        total = torch.zeros((), device=self.case.device)
        for _ in range(n_micro):
            loss = self._loss(turn, batch) / n_micro
            root = loss if self.scaler is None else self.scaler.scale(loss)
            if "two_backwards" in self.case.loop:
                root.backward(retain_graph=True)
            root.backward()
            total = total + loss.detach()
        return total

    def _loss(self, turn: int, batch: Batch) -> Tensor:
        # Draws of all three generators matter to what follows.
        factor = 1 + random.random() + float(np.random.rand())  # noqa: NPY002, S311
        cast = "autocast" in self.case.around
        with torch.autocast(self.case.device, torch.bfloat16) if cast else nullcontext():
            loss = self.task.loss(self.called, turn, batch) * factor
        if "gradient_penalty" in self.case.loop and torch.is_grad_enabled():
            weights = [p for p in self.models[turn].parameters() if p.requires_grad]
            slopes = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
            for slope in slopes:
                loss = loss if slope is None else loss + 0.01 * slope.abs().square().sum()
        return loss

    def _clip(self, turn: int) -> None:
        parameters = [
            p
            for p in self.models[turn].parameters()
            if p.grad is not None and not p.grad.is_sparse  # torch clips no sparse gradients
        ]
        if "clip_norm" in self.case.loop:
            self.log.append(nn.utils.clip_grad_norm_(parameters, 0.1))
        if "clip_value" in self.case.loop:
            nn.utils.clip_grad_value_(parameters, 0.01)

    def _move(self, update: Update, turn: int) -> None:
        for optimizer in update.optimizers if update.way is Way.STEP else ():
            if self.scaler is None:
                optimizer.step()
            else:
                self.scaler.step(optimizer)
        if self.scaler is not None:
            self.scaler.update()
        if update.way is Way.BY_HAND:
            with torch.no_grad():
                for parameter in self.models[turn].parameters():
                    if parameter.grad is not None:
                        parameter.add_(parameter.grad, alpha=-0.05)

    def _evaluate(self, turn: int, batch: Batch) -> None:
        for model in self.models:
            model.eval()
        with torch.no_grad():
            loss = self.task.loss(self.called, turn, batch)
        for model in self.models:
            model.train()
        self.log.append(loss)
        if self.callbacks:
            self.callbacks[turn].log(val_loss=loss)

    def _failing_forward(self, turn: int, batch: Batch) -> None:
        """A forward that raises half-way, which the loop survives."""
        leaf = leaves([self.models[turn]])[-1]

        def fail(*_: object) -> None:
            raise MemoryError("half-way")

        handle = leaf.register_forward_pre_hook(fail)
        try:
            self._loss(turn, batch)
        except MemoryError:
            self.log.append("caught")
        finally:
            handle.remove()


def failures(store: Path) -> list[object]:
    """Messages of what telemetry has switched off in the runs of a store."""
    runs = [path.parent for path in store.rglob("run.json")]
    return [
        row["message"]
        for run in runs
        for row in records(run, "events")
        if row["kind"] == "telemetry_error"
    ]
