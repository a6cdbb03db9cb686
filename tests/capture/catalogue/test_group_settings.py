import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import records
from torch import Tensor, nn
from torch.optim import Optimizer

import telemetry
from telemetry import Store, TelemetryCallback, json_values
from telemetry.capture.catalogue.group_settings import changes
from telemetry.cli.commands.show import read_summary
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.store.runs.run import Run

OptimizerClass: TypeAlias = type[Optimizer]
OF_TORCH: dict[str, OptimizerClass] = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
}


class Rows(nn.Module):
    """Looks rows up, with a gradient that is sparse or not, and maps them."""

    def __init__(self, *, sparse: bool, bias: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(8, 4, sparse=sparse)
        self.head = nn.Linear(4, 2, bias=bias)
        if sparse:
            self.head.requires_grad_(False)  # noqa: FBT003 - torch's own signature

    def forward(self, rows: Tensor) -> Tensor:
        mapped: Tensor = self.head(self.table(rows))
        return mapped


def trained(kind: OptimizerClass, store: Path, *, n_steps: int = 6) -> Run:
    """A run by an optimizer of torch with its own defaults."""
    torch.manual_seed(0)
    name = kind.__name__
    model = Rows(sparse=name == "SparseAdam", bias=name != "Muon")
    optimizer = kind([p for p in model.parameters() if p.requires_grad])  # type: ignore[call-arg]
    rows = torch.arange(8)
    with TelemetryCallback(
        model, optimizer, store=store, name=name, every=1, overhead_budget=None, strict=True
    ) as callback:
        for _ in range(n_steps):

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = model(rows).square().mean()
                loss.backward()
                return loss

            if name == "LBFGS":
                loss = optimizer.step(closure)
            else:
                loss = closure()
                optimizer.step()
            callback.step(loss=loss)
    assert callback.run is not None
    return Store.open(store).select(callback.run)


def errors_of(run: Run) -> list[object]:
    return [row["message"] for row in records(run.ref.path, "events") if row["severity"] != "info"]


@pytest.mark.parametrize("name", OF_TORCH)
def test_runs_of_every_optimizer_of_torch_can_be_read(name: str, tmp_path: Path) -> None:
    runs = [trained(OF_TORCH[name], tmp_path) for _ in range(2)]
    store = Store.open(tmp_path)
    assert [errors_of(run) for run in runs] == [[], []]
    assert diagnose_run(store, runs[0]).findings is not None
    assert read_summary(store, runs[0].run).description.optimizers[0]["class"] == name
    assert telemetry.diff_runs(store, [runs[0]], [runs[1]]) is not None
    assert telemetry.sweep_runs(store, runs) is not None


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.just(-(2**70))
    | st.floats()
    | st.text(max_size=4)
    | st.just("\udcff")
    | st.complex_numbers()
    | st.builds(Unprintable)
    | st.sampled_from([(), (2,), (1, 1)]).map(torch.ones)
    | st.sampled_from([torch.zeros(0), torch.tensor(1 + 2j), torch.tensor(3), torch.tensor(True)])  # noqa: FBT003
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=6,
)
KEYS = ("lr", "betas", "eps", "weight_decay", "momentum", "nesterov", "maximize", "extra")
USUAL: Mapping[str, Mapping[str, object]] = {
    "AdamW": {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
    "SGD": {"lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0, "maximize": False},
}


def own_optimizer(name: str) -> Callable[..., Optimizer]:
    """An optimizer that is taken for one of torch and never looks at its groups."""

    def step(self: Optimizer) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                for key in ("exp_avg", "exp_avg_sq", "momentum_buffer"):
                    state.setdefault(key, torch.zeros_like(parameter))
                state.setdefault("step", torch.tensor(0.0))
                state["step"] += 1
                parameter.data.add_(parameter.grad, alpha=-0.01)

    def make(parameters: object, **defaults: object) -> Optimizer:
        kind = type(name, (Optimizer,), {"step": step, "__module__": "torch.optim.own"})
        made: Optimizer = kind(parameters, defaults)
        return made

    return make


@settings(max_examples=10)
@given(
    name=st.sampled_from(sorted(USUAL)),
    first=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
    later=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
)
def test_whatever_a_parameter_group_holds_the_run_is_recorded_and_can_be_read(
    name: str,
    first: dict[str, object],
    later: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = tmp_path_factory.mktemp("store")
    model = nn.Linear(3, 2, dtype=torch.bfloat16)  # the update is judged by the settings
    optimizer = own_optimizer(name)(
        [{"params": [model.weight]}, {"params": [model.bias]}], **{**USUAL[name], **first}
    )
    with TelemetryCallback(
        model, optimizer, store=store, every=1, overhead_budget=None, strict=True
    ) as callback:
        for step in range(4):
            if step == 2:
                for group in optimizer.param_groups:
                    group.update(later)
            loss = model(torch.ones(4, 3, dtype=torch.bfloat16)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            callback.step(loss=loss)
    run = Store.open(store).select("latest")
    assert len(records(run.ref.path, "steps")) == 4
    told = [row["kind"] for row in records(run.ref.path, "events")]
    assert "optimizer" in told
    assert "telemetry_error" not in told
    rows = records(run.ref.path, "events")
    assert all(isinstance(json.loads(str(row["payload"])), dict) for row in rows)
    with Store.open(store).session([run]) as session:
        assert len(session.query("SELECT step FROM steps")) == 4
    diagnosis = diagnose_run(Store.open(store), run, detectors=["over_regularized"])
    assert json_values.dumps([finding.to_json() for finding in diagnosis.findings])


def test_nan_that_stays_is_no_change() -> None:
    nan = float("nan")
    before: list[dict[str, float | tuple[float, ...]]] = [
        {"eps": nan, "betas": (nan, 0.9), "lr": 1.0}
    ]
    after: list[dict[str, float | tuple[float, ...]]] = [
        {"eps": -nan, "betas": (-nan, 0.9), "lr": 2.0}
    ]
    assert [change.key for change in changes(before, after)] == ["lr"]
