"""Scripts without a line of telemetry give the tables that the explicit callback gives."""

import functools
import math
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loops import records
from stripped import EXAMPLES, SCRIPTS, observed_closely, shortened, stripped
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.optimizer import _global_optimizer_pre_hooks as step_hooks

from telemetry import TelemetryCallback
from telemetry.capture.auto import script_watch
from telemetry.capture.auto.script_watch import ScriptWatch
from telemetry.capture.auto.start import AutoStart
from telemetry.format.manifest import read_manifest
from telemetry.requests.record import RecordRequest

pytestmark = pytest.mark.torch

Row = dict[str, object]
MEASURED = ("wall_time", "elapsed_s", "step_s", "overhead_s", "data_s")
LOGGED = {"convnet", "gan"}  # their calls name metrics, which a stripped script does not
EVALUATED = {"convnet"}  # without log() nobody knows that a forward was an evaluation
MODES_OF_EVALUATIONS = frozenset(
    {"eval_training_share", "eval_norm_training", "eval_dropout_training"}
)


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_STORE", str(tmp_path / "store"))
    # Arguments of pytest are none of the script's.
    monkeypatch.setattr("sys.argv", ["train.py"])


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ScriptWatch]]:
    """`watching(every=1)`: what `TELEMETRY_AUTO` does, in this process, whatever it costs."""
    unlimited = functools.partial(TelemetryCallback, overhead_budget=None)
    monkeypatch.setattr(script_watch, "TelemetryCallback", unlimited)
    construct = Optimizer.__init__
    watches: list[ScriptWatch] = []

    def begin(**request: object) -> ScriptWatch:
        auto = AutoStart(RecordRequest(**{"every": 1, **request}))  # type: ignore[arg-type]
        auto._wake(torch.optim)
        auto._watch = ScriptWatch(auto._request)
        watches.append(auto._watch)
        return auto._watch

    yield begin
    for watch in watches:
        watch.stop()
    Optimizer.__init__ = construct  # type: ignore[method-assign]
    assert n_watched() == 0
    assert not hasattr(torch.autograd.backward, "telemetry_observed")


def runs(tmp_path: Path) -> list[Path]:
    found = (tmp_path / "store").glob("project=*/run=*")
    return sorted(found, key=lambda run: read_manifest(run).started)


def only_run(tmp_path: Path) -> Path:
    (run,) = runs(tmp_path)
    return run


def tables(run: Path) -> set[str]:
    return {path.name for path in run.iterdir() if path.is_dir()}


def numbers(row: Row) -> Row:
    """A row that equals its like: NaN is one value, and what clocks say is left out."""
    return {
        key: "nan" if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
        if key not in MEASURED
    }


def ordered(rows: list[Row], left_out: set[str]) -> list[Row]:
    kept = [{k: v for k, v in numbers(row).items() if k not in left_out} for row in rows]
    return sorted(kept, key=lambda row: [str(value) for value in row.values()])


def run_script(source: str, path: Path) -> None:
    path.write_text(source, "utf-8")
    runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("script", [*EXAMPLES, *SCRIPTS], ids=lambda path: path.stem)
def test_a_script_without_the_lines_of_telemetry_gives_the_same_tables(
    script: Path, tmp_path: Path, watching: Callable[..., ScriptWatch]
) -> None:
    source = shortened(script.read_text("utf-8"))
    run_script(observed_closely(source), tmp_path / "explicit.py")
    explicit = only_run(tmp_path)
    explicit = explicit.rename(tmp_path / "explicit")

    watch = watching()
    run_script(stripped(source), tmp_path / "train.py")
    watch.stop()
    auto = only_run(tmp_path)

    unlogged = {"metrics"} if script.stem in LOGGED else set()
    assert tables(explicit) - unlogged == tables(auto) - unlogged
    same = {"tensor_stats", "tensors", "modules"} | (
        set() if script.stem in EVALUATED else {"module_stats"}
    )
    for table in sorted(same):
        left_out = {"lr_group"} if script.stem == "gan" else set()  # its order of optimizers
        expected = ordered(records(explicit, table), left_out)
        assert len(expected) > 1
        found = ordered(records(auto, table), left_out)
        assert [(a, b) for a, b in zip(found, expected, strict=True) if a != b] == [], table
    unnamed = MODES_OF_EVALUATIONS if script.stem in EVALUATED else frozenset()
    check_steps(records(explicit, "steps"), records(auto, "steps"), unnamed)


def check_steps(explicit: list[Row], auto: list[Row], unnamed: frozenset[str]) -> None:
    """All but the source of the loss: without a call it is the sum of the backward roots."""
    assert len(explicit) >= 6
    for expected, found in zip(explicit, auto, strict=True):
        assert found["loss"] == found["root_sum"] == expected["root_sum"]
        left_out = {"loss", "flags", *unnamed}
        if expected["step"] == 0:
            left_out.add("epoch")  # the batch was read before there was a callback
        assert {k: v for k, v in numbers(found).items() if k not in left_out} == {
            k: v for k, v in numbers(expected).items() if k not in left_out
        }


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def batch(step: int) -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(step))


def train(model: nn.Module, optimizer: Optimizer, n_steps: int = 3) -> list[float]:
    losses = []
    for step in range(n_steps):
        loss = model(batch(step)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def losses_of(run: Path) -> list[object]:
    return [row["loss"] for row in records(run, "steps")]


def names_of(run: Path) -> set[object]:
    return {row["name"] for row in records(run, "tensors")}


def n_watched() -> int:
    """Places of torch at which a script is watched; the hooks of a callback are its own."""
    own = [hook for hook in step_hooks.values() if hook.__module__ == script_watch.__name__]
    return (vars(nn.Module)["_compiled_call_impl"] is not None) + len(own)


def test_training_ends_with_the_same_bits_and_nothing_stays_on_it(
    watching: Callable[..., ScriptWatch],
) -> None:
    model = mlp()
    optimizer = Adam(model.parameters())
    expected = train(model, optimizer), model.state_dict(), torch.get_rng_state()
    watching()
    watched = mlp()
    optimizer = Adam(watched.parameters())
    assert n_watched() == 2
    assert train(watched, optimizer) == expected[0]
    assert n_watched() == 0, "the second step is free of it"
    for name, value in watched.state_dict().items():
        assert torch.equal(value, expected[1][name])
    assert torch.equal(torch.get_rng_state(), expected[2])


def test_a_module_whose_forward_is_called_by_name_is_seen_by_its_backward(
    tmp_path: Path, watching: Callable[..., ScriptWatch]
) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(2.0))

        def forward(self, values: Tensor) -> Tensor:
            return self.factor * values

    watch = watching()
    model = Scale()
    optimizer = SGD(model.parameters(), lr=0.25)
    for _ in range(2):
        optimizer.zero_grad()
        model.forward(torch.tensor(1.0)).backward()
        optimizer.step()
    watch.stop()
    assert losses_of(only_run(tmp_path)) == [2.0, 1.75]
    assert names_of(only_run(tmp_path)) == {"factor"}


def test_tensors_without_a_module_are_recorded_under_the_optimizer(
    tmp_path: Path, watching: Callable[..., ScriptWatch]
) -> None:
    watch = watching()
    image = torch.tensor([3.0, 4.0], requires_grad=True)
    optimizer = SGD([image], lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        image.pow(2).sum().backward()
        optimizer.step()
    assert watch.why_nothing() is None
    watch.stop()
    assert losses_of(only_run(tmp_path)) == [25.0, 0.0, 0.0]
    assert names_of(only_run(tmp_path)) == {"optimizer.0.0"}


def test_a_script_without_backward_is_recorded_from_its_first_step_and_told_of_the_loss(
    tmp_path: Path, watching: Callable[..., ScriptWatch]
) -> None:
    watch = watching()
    weight = torch.tensor([3.0], requires_grad=True)
    optimizer = SGD([weight], lr=0.5)
    for _ in range(2):
        (weight.grad,) = torch.autograd.grad(weight.sum(), weight)
        optimizer.step()
    assert watch.why_nothing() == script_watch.NO_LOSS
    watch.stop()
    gradients = [r for r in records(only_run(tmp_path), "tensor_stats") if r["sumsq"] == 1.0]
    assert [row["step"] for row in gradients] == [0, 1]


def test_a_closure_is_seen_from_its_first_step(
    tmp_path: Path, watching: Callable[..., ScriptWatch]
) -> None:
    watch = watching()
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(torch.ones(1)) - 1).pow(2).sum()
        loss.backward()
        return loss

    first = closure().item()
    optimizer.step(closure)  # type: ignore[arg-type]
    watch.stop()
    (row,) = records(only_run(tmp_path), "steps")
    assert row["backward_calls"] >= 3
    assert row["root_sum"] >= 2 * first * 0.99


def test_an_evaluation_leaves_no_run(tmp_path: Path, watching: Callable[..., ScriptWatch]) -> None:
    watch = watching()
    model = mlp()
    optimizer = Adam(model.parameters())
    optimizer.load_state_dict(optimizer.state_dict())
    with torch.no_grad():
        model(batch(0))
    assert len(runs(tmp_path)) == 1
    assert watch.why_nothing() == script_watch.NEVER_TRAINED
    watch.stop()
    assert runs(tmp_path) == []


@pytest.mark.parametrize("n_dry_runs", [0, 1])
def test_a_callback_of_the_script_itself_wins(
    n_dry_runs: int,
    tmp_path: Path,
    watching: Callable[..., ScriptWatch],
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = watching(tags=("t",))
    model = mlp()
    optimizer = Adam(model.parameters())
    for step in range(n_dry_runs):
        model(batch(step))
    with TelemetryCallback(model, optimizer, project="explicit"):
        train(model, optimizer)
    train(mlp(), Adam(mlp().parameters()))
    told = watch.why_nothing()
    assert told is not None
    assert "--every --tag not used" in told
    assert only_run(tmp_path).parent.name == "project=explicit"
    assert caplog.messages == []


def test_the_next_training_is_the_next_run(
    tmp_path: Path, watching: Callable[..., ScriptWatch]
) -> None:
    watch = watching(project="search", tags=("lr",))
    for lr in (0.1, 0.2):
        model = mlp()
        train(model, SGD(model.parameters(), lr=lr))
    watch.stop()
    first, second = (records(run, "steps") for run in runs(tmp_path))
    assert {row["lr"] for row in first}, {row["lr"] for row in second} == ({0.1}, {0.2})
    assert [row["step"] for row in second] == [0, 1, 2]


def test_an_optimizer_made_later_for_the_same_model_joins_in_a_new_run(
    tmp_path: Path, watching: Callable[..., ScriptWatch]
) -> None:
    watch = watching()
    model = mlp()
    first = SGD(model[0].parameters(), lr=0.1)
    train(model, first, n_steps=2)
    second = SGD(model[2].parameters(), lr=0.2)
    for step in range(2):
        for optimizer in (first, second):
            optimizer.zero_grad()
        model(batch(step)).mean().backward()
        for optimizer in (first, second):
            optimizer.step()
    watch.stop()
    alone, both = runs(tmp_path)
    assert [row["step"] for row in records(alone, "steps")] == [0, 1]
    assert [row["step"] for row in records(both, "steps")] == [0, 1]
    groups = {row["name"]: row["lr_group"] for row in records(both, "tensors")}
    assert groups == {"0.weight": 1, "0.bias": 1, "2.weight": 0, "2.bias": 0}


def test_an_optimizer_that_takes_over_goes_on_step_by_step(
    tmp_path: Path, watching: Callable[..., ScriptWatch]
) -> None:
    watch = watching()
    model = mlp()
    warm, fine = Adam(model.parameters(), lr=0.01), SGD(model.parameters(), lr=0.02)
    losses = train(model, warm) + train(model, fine)
    watch.stop()
    assert losses_of(only_run(tmp_path)) == losses
