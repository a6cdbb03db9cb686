"""Loops whose gradients no optimizer uses are found in 20 calls, and other loops are let be."""

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from loops import records
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from telemetry import TelemetryCallback
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Finding
from telemetry.store.store import Store

ID = "no_optimizer_step"
Batches = Iterator[tuple[Tensor, Tensor]]
Loop = Callable[["Setting"], None]


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


class Setting:
    """A model, its optimizer and batches; `watch` begins the recording, with few samples."""

    def __init__(self, store: Path) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        self.optimizer: Optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2)
        self._store = store

    def watch(self, *optimizers: Optimizer, model: nn.Module | None = None) -> TelemetryCallback:
        self.telemetry = TelemetryCallback(
            self.model if model is None else model,
            optimizers or None,
            store=self._store,
            every=50,
            overhead_budget=None,
            strict=True,
        )
        return self.telemetry

    def batches(self, n: int) -> Batches:
        for _ in range(n):
            inputs = torch.randn(16, 8)
            yield inputs, inputs[:, :4].argmax(1)

    def backward(self, batch: tuple[Tensor, Tensor], *, divisor: float = 1.0) -> Tensor:
        loss = functional.cross_entropy(self.model(batch[0]), batch[1])
        (loss / divisor).backward()
        return loss.detach()


def found(store: Path) -> Finding | None:
    opened = Store.open(store)
    diagnosis = diagnose_run(opened, opened.runs()[0], detectors=[ID])
    return next(iter(diagnosis.findings), None)


def train(case: Setting, n: int, *, until: int, cleared: bool = True, given: bool = True) -> None:
    """The optimizer steps until a step, and no more."""
    with case.watch(*[case.optimizer] * given) as telemetry:
        for step, batch in enumerate(case.batches(n)):
            if cleared:
                case.optimizer.zero_grad()
            loss = case.backward(batch)
            if step < until:
                case.optimizer.step()
            telemetry.step(loss=loss)


@pytest.mark.parametrize("given", [True, False], ids=["given", "not_given"])
@pytest.mark.parametrize("cleared", [True, False], ids=["cleared", "summed_up"])
@pytest.mark.parametrize("until", [0, 74])
def test_an_optimizer_that_does_not_step_is_found_in_20_calls(
    tmp_path: Path,
    until: int,
    cleared: bool,  # noqa: FBT001
    given: bool,  # noqa: FBT001
) -> None:
    train(Setting(tmp_path), until + 20, until=until, cleared=cleared, given=given)
    finding = found(tmp_path)
    assert finding is not None
    assert (finding.severity, finding.first_step) == ("error", until)
    since = f"has not run since step {until}" if until else "has never run"
    assert finding.message == f"`optimizer.step()` {since}, while backward ran 20 times"


def test_rows_tell_of_it_while_the_run_goes_on(tmp_path: Path) -> None:
    case = Setting(tmp_path)
    with case.watch(case.optimizer) as telemetry:
        for batch in case.batches(20):
            case.optimizer.zero_grad()
            telemetry.step(loss=case.backward(batch))
        assert telemetry._recording is not None
        telemetry._recording._send(final=False)
        assert telemetry._recording.writer.flush(timeout_s=60)
        assert found(tmp_path) is not None


def test_it_has_everything_written_at_once(tmp_path: Path) -> None:
    case = Setting(tmp_path)
    train(case, 20, until=0)
    path = case.telemetry.path
    assert path is not None
    reasons = [row["payload"] for row in records(path, "events") if row["kind"] == "flush"]
    assert any("no_optimizer_step" in str(reason) for reason in reasons)


def test_an_optimizer_whose_gradients_are_cleared_before_it_steps(tmp_path: Path) -> None:
    case = Setting(tmp_path)
    with case.watch(case.optimizer) as telemetry:
        for batch in case.batches(20):
            loss = case.backward(batch)
            case.optimizer.zero_grad()
            case.optimizer.step()
            telemetry.step(loss=loss)
    finding = found(tmp_path)
    assert finding is not None
    assert "had no gradient to use, while backward ran 20 times: they are cleared" in (
        finding.message
    )


def test_an_optimizer_of_another_copy_of_the_model(tmp_path: Path) -> None:
    case = Setting(tmp_path)
    case.model = copy.deepcopy(case.model)
    with case.watch(case.optimizer) as telemetry:
        for batch in case.batches(20):
            case.model.zero_grad()
            loss = case.backward(batch)
            case.optimizer.step()
            telemetry.step(loss=loss)
    finding = found(tmp_path)
    assert finding is not None
    assert finding.message.endswith("it has 4 tensors that do not belong to the model")


# --- loops in which nothing is wrong ------------------------------------------------------------


def accumulated(n_micro: int, *, calls_each: bool, divisor: float = 1.0) -> Loop:
    def loop(case: Setting) -> None:
        with case.watch(case.optimizer) as telemetry:
            for step, batch in enumerate(case.batches(3 * n_micro + n_micro // 2)):
                loss = case.backward(batch, divisor=divisor)
                ends = (step + 1) % n_micro == 0
                if ends:
                    case.optimizer.step()
                    case.optimizer.zero_grad()
                if ends or calls_each:
                    telemetry.step(loss=loss)

    return loop


def by_hand(case: Setting) -> None:
    with case.watch() as telemetry:
        for batch in case.batches(40):
            loss = case.backward(batch)
            with torch.no_grad():
                for parameter in case.model.parameters():
                    assert parameter.grad is not None
                    parameter.data -= 0.1 * parameter.grad
                    parameter.grad = None
            telemetry.step(loss=loss)


def by_another_optimizer(case: Setting) -> None:
    other = torch.optim.SGD(case.model.parameters(), lr=0.1)
    with case.watch(other) as telemetry:
        for batch in case.batches(50):
            case.optimizer.zero_grad()
            loss = case.backward(batch)
            case.optimizer.step()
            telemetry.step(loss=loss)


def refused_by_a_scaler(case: Setting) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, growth_interval=1000)
    with case.watch(case.optimizer) as telemetry:
        for inputs, labels in case.batches(30):
            case.optimizer.zero_grad()
            loss = functional.cross_entropy(case.model(inputs), labels)
            scaler.scale(1e6 * loss).backward()
            scaler.step(case.optimizer)
            scaler.update()
            telemetry.step(loss=loss.detach())


def one_of_two(case: Setting) -> None:
    critic = nn.Linear(4, 1)
    both = nn.ModuleList([case.model, critic])
    of_critic = torch.optim.Adam(critic.parameters())
    with case.watch(case.optimizer, of_critic, model=both) as telemetry:
        for inputs, _ in case.batches(40):
            of_critic.zero_grad()
            loss = critic(case.model(inputs).detach()).square().mean()
            loss.backward()
            of_critic.step()
            telemetry.step(loss=loss.detach())


def fine_tuned(case: Setting) -> None:
    for parameter in list(case.model.parameters())[:2]:
        parameter.requires_grad_(requires_grad=False)
    optimizer = torch.optim.Adam(list(case.model.parameters())[2:], lr=1e-2)
    with case.watch(optimizer) as telemetry:
        for batch in case.batches(40):
            optimizer.zero_grad()
            loss = case.backward(batch)
            optimizer.step()
            telemetry.step(loss=loss)


def warmed_up(case: Setting) -> None:
    scheduler = torch.optim.lr_scheduler.LambdaLR(case.optimizer, lambda step: min(1.0, step / 10))
    with case.watch(case.optimizer) as telemetry:
        for batch in case.batches(40):
            case.optimizer.zero_grad()
            loss = case.backward(batch)
            case.optimizer.step()
            scheduler.step()
            telemetry.step(loss=loss)


def evaluated_for_a_while(case: Setting) -> None:
    with case.watch(case.optimizer) as telemetry:
        for batch in case.batches(10):
            case.optimizer.zero_grad()
            loss = case.backward(batch)
            case.optimizer.step()
            telemetry.step(loss=loss)
        for batch in case.batches(40):
            with torch.no_grad():
                loss = functional.cross_entropy(case.model(batch[0]), batch[1])
            telemetry.step(val_loss=loss)


def attacked_while_evaluated(case: Setting) -> None:
    with case.watch(case.optimizer) as telemetry:
        for batch in case.batches(10):
            case.optimizer.zero_grad()
            loss = case.backward(batch)
            case.optimizer.step()
            telemetry.step(loss=loss)
        for inputs, labels in case.batches(70):
            case.backward((inputs.requires_grad_(), labels))
            case.optimizer.zero_grad()
        telemetry.log(val_accuracy=0.5)


def stepped_in_backward(case: Setting) -> None:
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in case.model.parameters()}

    def step(parameter: Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(step)
    with case.watch() as telemetry:
        for batch in case.batches(40):
            telemetry.step(loss=case.backward(batch))


def by_closures(case: Setting) -> None:
    optimizer = torch.optim.LBFGS(case.model.parameters(), max_iter=3)
    with case.watch(optimizer) as telemetry:
        for batch in case.batches(30):

            def closure(batch: tuple[Tensor, Tensor] = batch) -> Tensor:
                optimizer.zero_grad()
                return case.backward(batch)

            telemetry.step(loss=optimizer.step(closure))  # type: ignore[arg-type]


def functional_calls(case: Setting) -> None:
    weights = {name: p.detach().clone() for name, p in case.model.named_parameters()}
    with case.watch() as telemetry:
        for inputs, labels in case.batches(40):
            own = {name: weight.requires_grad_() for name, weight in weights.items()}
            out = torch.func.functional_call(case.model, own, (inputs,))
            loss = functional.cross_entropy(out, labels)
            loss.backward()
            weights = {name: (w - 0.1 * w.grad).detach() for name, w in own.items()}  # type: ignore[operator]
            telemetry.step(loss=loss.detach())


HEALTHY: Sequence[Loop] = [
    by_hand,
    by_another_optimizer,
    refused_by_a_scaler,
    one_of_two,
    fine_tuned,
    warmed_up,
    evaluated_for_a_while,
    attacked_while_evaluated,
    stepped_in_backward,
    by_closures,
    functional_calls,
]


@pytest.mark.parametrize("loop", HEALTHY, ids=lambda loop: loop.__name__)
def test_nothing_is_found_in_a_loop_that_updates_its_weights(tmp_path: Path, loop: Loop) -> None:
    loop(Setting(tmp_path))
    assert found(tmp_path) is None


@pytest.mark.parametrize("calls_each", [True, False], ids=["each_batch", "each_step"])
@pytest.mark.parametrize("n_micro", [4, 20, 32])
def test_nothing_is_found_where_gradients_are_accumulated(
    tmp_path: Path,
    n_micro: int,
    calls_each: bool,  # noqa: FBT001
) -> None:
    accumulated(n_micro, calls_each=calls_each)(Setting(tmp_path))
    assert found(tmp_path) is None


def test_calls_count_as_steps_where_another_optimizer_steps(tmp_path: Path) -> None:
    case = Setting(tmp_path)
    by_another_optimizer(case)
    assert case.telemetry.path is not None
    rows = records(case.telemetry.path, "steps")
    assert [row["optimizer_steps"] for row in rows] == [20, *[1] * 30]


def test_torch_keeps_no_hook_of_a_closed_callback(tmp_path: Path) -> None:
    from torch.optim.optimizer import _global_optimizer_pre_hooks as hooks

    before = len(hooks)
    case = Setting(tmp_path)
    with case.watch(case.optimizer):
        assert len(hooks) > before
    assert len(hooks) == before
