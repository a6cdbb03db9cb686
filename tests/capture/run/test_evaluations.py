"""Evaluations are seen whatever is sampled, and are told from other forwards without gradient."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from loops import records
from no_reading import NoReading
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.json_values import Json

EVALUATED = 32
NEVER = 1000  # steps between samples: all but step 0 are left out
Row = Mapping[str, Json]
Wall = Callable[[], contextlib.AbstractContextManager[object]]


class Net(nn.Module):
    """A layer of each kind that has a mode, and a functional dropout."""

    def __init__(self, *, is_told: bool = True) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(8, 3)
        self._is_told = is_told

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.drop(self.norm(self.first(inputs)))
        active = self.training or not self._is_told
        return self.last(functional.dropout(hidden, 0.5, training=active))


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A training loop that evaluates.

    Attributes:
        every: Steps between evaluations.
        wall: What stands around the forwards of an evaluation.
        goes_over: Whether evaluations call eval().
        goes_back: Whether they call train() after it.
        is_told: Whether the functional dropout follows the mode.
        loaders: Data sets of an evaluation, each with a metric.
        metric: Prefix of their names; none: nothing is logged.
        first: Whether an evaluation comes before the training.
        teaches: Whether each step runs the model once more, without gradient.
    """

    n_steps: int = 40
    every: int = 5
    wall: Wall = torch.no_grad
    goes_over: bool = True
    goes_back: bool = True
    is_told: bool = True
    loaders: int = 1
    metric: str | None = "val_loss"
    first: bool = False
    teaches: bool = False

    def run(self, folder: Path, *, activations: bool = True) -> Path:
        model, batches = self.made()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        with TelemetryCallback(
            model,
            optimizer,
            store=folder,
            every=NEVER,
            overhead_budget=None,
            strict=True,
            activations=activations,
        ) as telemetry:
            for step in range(self.n_steps):
                if step == 0 and self.first:
                    self.evaluate(model, batches, telemetry)
                loss = functional.cross_entropy(model(*batches[step][:1]), batches[step][1])
                if self.teaches:
                    with torch.no_grad():
                        model(batches[step][0])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                telemetry.step(loss=loss)
                if step % self.every == self.every - 1:
                    self.evaluate(model, batches, telemetry)
        assert telemetry.path is not None
        return telemetry.path

    def made(self) -> tuple[Net, Sequence[tuple[Tensor, Tensor]]]:
        torch.manual_seed(0)
        model = Net(is_told=self.is_told)
        batches = [(torch.randn(16, 6), torch.randint(3, (16,))) for _ in range(self.n_steps)]
        return model, batches

    def evaluate(
        self, model: Net, batches: Sequence[tuple[Tensor, Tensor]], telemetry: TelemetryCallback
    ) -> None:
        if self.goes_over:
            model.eval()
        with self.wall():
            for loader in range(self.loaders):
                for inputs, _ in batches[:3]:
                    model(inputs[:7])
                if self.metric is not None:
                    telemetry.log(**{f"{self.metric}_{loader}": 1.0})
        if self.goes_back:
            model.train()


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def evaluated(run: Path) -> dict[Json, tuple[Json, ...]]:
    """Modes of the evaluations by step: share, normalisations and dropouts in training mode."""
    names = ("eval_training_share", "eval_norm_training", "eval_dropout_training")
    return {
        row["step"]: tuple(row[name] for name in names)
        for row in records(run, "steps")
        if int(str(row["flags"])) & EVALUATED
    }


def trained(run: Path) -> dict[Json, Json]:
    """Share of the modules in training mode, of the steps of which it is known."""
    rows = records(run, "steps")
    return {row["step"]: row["training_share"] for row in rows if row["training_share"] is not None}


def looked_at(run: Path, phase: str = "eval") -> list[int]:
    """Steps of which forwards of a phase were looked at."""
    rows = records(run, "module_stats")
    return sorted({int(str(row["step"])) for row in rows if row["phase"] == phase})


WALLS = [torch.no_grad, torch.inference_mode, contextlib.nullcontext]
AFTER = [4, 9, 14, 19, 24, 29, 34, 39]


@pytest.mark.parametrize("wall", WALLS)
def test_the_modes_of_every_evaluation_are_known(tmp_path: Path, wall: Wall) -> None:
    run = Loop(wall=wall).run(tmp_path)
    assert evaluated(run) == dict.fromkeys(AFTER, (0.0, 0, 0))
    assert trained(run) == dict.fromkeys([0, *(step + 1 for step in AFTER[:-1])], 1.0)


@pytest.mark.parametrize("wall", WALLS)
def test_a_forgotten_eval_is_seen_in_every_evaluation(tmp_path: Path, wall: Wall) -> None:
    run = Loop(wall=wall, goes_over=False).run(tmp_path)
    assert evaluated(run) == dict.fromkeys(AFTER, (1.0, 1, 1))


def test_a_forgotten_train_is_seen_in_the_next_step(tmp_path: Path) -> None:
    run = Loop(goes_back=False, every=20).run(tmp_path)
    assert trained(run) == {0: 1.0, 20: 0.0}


@pytest.mark.parametrize("wall", WALLS)
def test_the_first_batch_of_evaluations_1_2_4_and_8_is_looked_at(
    tmp_path: Path, wall: Wall
) -> None:
    run = Loop(wall=wall).run(tmp_path)
    assert looked_at(run) == [4, 9, 19, 39]
    rows = [row for row in records(run, "module_stats") if row["phase"] == "eval"]
    assert {row["n"] for row in rows if row["site"] == "input"} == {7 * 6}
    assert looked_at(run, "train") == [0]


def test_without_activations_the_modes_are_known(tmp_path: Path) -> None:
    run = Loop().run(tmp_path, activations=False)
    assert len(evaluated(run)) == 8
    assert records(run, "module_stats") == []


def test_several_loaders_are_one_evaluation(tmp_path: Path) -> None:
    run = Loop(loaders=3).run(tmp_path)
    assert len(evaluated(run)) == 8
    assert looked_at(run) == [4, 9, 19, 39]


def test_an_evaluation_before_the_training_is_one_of_the_first_step(tmp_path: Path) -> None:
    run = Loop(first=True, every=20).run(tmp_path)
    assert evaluated(run) == dict.fromkeys((0, 19, 39), (0.0, 0, 0))
    assert trained(run) == {0: 1.0, 20: 1.0}


@pytest.mark.parametrize("goes_over", [True, False])
def test_examples_of_an_evaluation_with_gradient_are_not_trained_on(
    tmp_path: Path,
    goes_over: bool,  # noqa: FBT001
) -> None:
    run = Loop(wall=contextlib.nullcontext, goes_over=goes_over).run(tmp_path)
    assert {row["samples"] for row in records(run, "steps")} == {16}


def test_forwards_of_a_training_in_evaluation_mode_are_trained_on(tmp_path: Path) -> None:
    run = Loop(wall=contextlib.nullcontext, goes_back=False, every=20).run(tmp_path)
    assert [row["samples"] for row in records(run, "steps")][:30] == [16] * 30


def test_parts_of_the_training_do_not_hide_evaluations(tmp_path: Path) -> None:
    run = Loop(teaches=True).run(tmp_path)
    assert evaluated(run) == dict.fromkeys(AFTER, (0.0, 0, 0))
    assert looked_at(run) == [4, 9, 19, 39]
    assert len(looked_at(run, "no_grad")) <= 4 + 8


def test_a_forgotten_eval_is_seen_after_many_parts_of_the_training(tmp_path: Path) -> None:
    run = Loop(teaches=True, goes_over=False, n_steps=100, every=50).run(tmp_path)
    assert evaluated(run) == dict.fromkeys((49, 99), (1.0, 1, 1))


def test_what_is_not_logged_is_a_part_of_the_training(tmp_path: Path) -> None:
    run = Loop(metric=None, goes_over=False).run(tmp_path)
    assert evaluated(run) == {}
    told = {row["step"]: row["eval_norm_training"] for row in records(run, "steps")}
    assert [step for step, n in told.items() if n] == [step + 1 for step in AFTER[:-1]]


def test_a_value_loss_names_no_evaluation(tmp_path: Path) -> None:
    assert evaluated(Loop(metric="value_loss").run(tmp_path)) == {}


def test_a_block_of_the_user_is_an_evaluation(tmp_path: Path) -> None:
    model, batches = Loop().made()
    with TelemetryCallback(model, None, store=tmp_path, strict=True) as telemetry:
        with telemetry.evaluation(), torch.no_grad():
            model.eval()(batches[0][0])
        telemetry.step(loss=1.0)
    assert telemetry.path is not None
    assert evaluated(telemetry.path) == {0: (0.0, 0, 0)}


@pytest.mark.parametrize("wall", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_functional_dropout_that_is_on_is_a_site_of_its_module(
    tmp_path: Path,
    wall: Wall,
    is_told: bool,  # noqa: FBT001
) -> None:
    run = Loop(wall=wall, is_told=is_told).run(tmp_path)
    rows = [r for r in records(run, "module_stats") if str(r["site"]).startswith("dropout")]
    assert {(row["step"], row["phase"]) for row in rows} == (
        set() if is_told else {(step, "eval") for step in (4, 9, 19, 39)}
    )
    assert all(0.2 < float(str(row["n_zero"])) / float(str(row["n"])) < 0.8 for row in rows)


@pytest.mark.parametrize("wall", WALLS)
def test_evaluations_and_training_are_bit_identical(tmp_path: Path, wall: Wall) -> None:
    def train(*, is_recorded: bool) -> list[Tensor]:
        loop = Loop(is_told=False)
        model, batches = loop.made()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        answers = []
        with contextlib.ExitStack() as stack:
            if is_recorded:
                telemetry = stack.enter_context(
                    TelemetryCallback(model, optimizer, store=tmp_path, every=NEVER, strict=True)
                )
            for step, (inputs, labels) in enumerate(batches):
                loss = functional.cross_entropy(model(inputs), labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if step % 5 == 4:
                    model.eval()
                    with wall():
                        answers.append(model(inputs).detach().clone())
                    model.train()
                    if is_recorded:
                        telemetry.log(val_loss=1.0)
        return [*answers, *(p.detach() for p in model.parameters()), *model.buffers()]

    pairs = zip(train(is_recorded=True), train(is_recorded=False), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_no_value_is_read_while_an_evaluation_is_looked_at(tmp_path: Path) -> None:
    model, batches = Loop().made()
    with TelemetryCallback(model, None, store=tmp_path, every=NEVER, strict=True) as telemetry:
        for inputs, _ in batches[:3]:
            telemetry.step(loss=1.0)
            with NoReading(), torch.no_grad():
                model.eval()(inputs)
            telemetry.log(val_loss=1.0)
    assert telemetry.path is not None
    assert len(evaluated(telemetry.path)) == 3
