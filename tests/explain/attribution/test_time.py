"""Answers that are there before their checks, and what is left when the time is up."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.explain import progress
from telemetry.explain.attribution.attribution import Attribution
from telemetry.explain.attribution.input_answers import sentence
from telemetry.explain.attribution.input_attribution import answered, ask
from telemetry.explain.attribution.methods import Problem
from telemetry.explain.attribution.verification import expected_forwards
from telemetry.explain.inputs.segments import Segments
from telemetry.explain.progress import TimeUp, heard
from telemetry.json_values import Json
from telemetry.requests.explain.input import InputSettings

pytestmark = pytest.mark.torch


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


class Slow(nn.Module):
    """A second for each input; the answer is whether the first column is positive."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.layer = nn.Linear(4, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[-2.0, 0, 0, 0], [2.0, 0.1, 0.1, 0.1]]))
            self.layer.bias.zero_()

    def forward(self, rows: Tensor) -> Tensor:
        self.clock.now += len(rows)
        logits: Tensor = self.layer(rows).tanh()
        return logits


def rows() -> list[tuple[Tensor, int]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, generator=generator), index % 2) for index in range(20)]


@dataclass
class Asked:
    """What came of a question that might take so many seconds."""

    found: Attribution
    first: list[Attribution]
    said: list[Mapping[str, Json]]
    expected: tuple[int, int]


def asked(monkeypatch: pytest.MonkeyPatch, seconds: float | None, method: str = "ig") -> Asked:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock.monotonic))
    subject = explain.load(Slow(clock), dataset=rows())
    assert subject.examples is not None
    first: list[Attribution] = []
    said: list[Mapping[str, Json]] = []
    with subject.running(gradient=True), heard(said.append, seconds=seconds):
        settings = InputSettings(method=method, baseline="zero")
        question = ask(subject, subject.examples.example(0), "pred", settings)
        expected = expected_forwards(question)
        found = answered(question, None, first.append)
    return Asked(found=found, first=first, said=said, expected=expected)


def test_the_first_answer_comes_before_any_check(monkeypatch: pytest.MonkeyPatch) -> None:
    one = asked(monkeypatch, None)
    (first,) = one.first
    assert first.checks == ()
    assert first.top(1)[0].segment == one.found.top(1)[0].segment == "0"
    told = [message["check"]["name"] for message in one.said]  # type: ignore[index,call-overload]
    assert told == [check.name for check in one.found.checks]
    assert first.forwards < one.found.forwards / 3


def test_a_time_that_is_up_keeps_the_answer_and_the_checks_that_were_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = asked(monkeypatch, None)
    half = asked(monkeypatch, 150)
    names = [check.name for check in half.found.checks]
    assert names[-1] == "time"
    assert names[:-1] == [check.name for check in whole.found.checks][: len(names) - 1]
    assert 0 < len(names) - 1 < len(whole.found.checks)
    assert not half.found.ok
    assert half.found.top(1)[0].segment == "0"
    assert f"the time was up before all was checked ({', '.join(names[:-1])} was)" in sentence(
        half.found
    )
    assert half.found.id != whole.found.id  # so that the whole answer can be kept later


def test_without_time_for_a_map_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TimeUp):
        asked(monkeypatch, 25)


@pytest.mark.parametrize(
    ("shape", "batch", "largest"),
    [((3, 224, 224), 64, 13), ((3, 32, 32), 16, 16), ((3, 900, 900), 8, 1)],
)
def test_large_inputs_run_in_small_batches_between_which_the_time_is_looked_at(
    shape: tuple[int, ...], batch: int, largest: int
) -> None:
    sizes: list[int] = []

    def score(inputs: Tensor) -> Tensor:
        sizes.append(len(inputs))
        return torch.zeros(len(inputs))

    whole = Segments(labels=torch.zeros(1, dtype=torch.long), names=("all",), how="feature")
    problem = Problem(
        score=score,
        values=torch.zeros(1).expand(shape),
        segments=whole,
        embedding=None,
        samples=None,
        seed=0,
        batch=batch,
    )
    assert len(problem.scores(torch.zeros(1).expand(20, *shape))) == sum(sizes) == 20
    assert max(sizes) == largest


@pytest.mark.parametrize("method", ["ig", "occlusion", "lime", "kernelshap"])
def test_what_it_will_cost_is_known_before(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Within a factor of four: an input with gradient counts as three, and is one here."""
    one = asked(monkeypatch, None, method)
    first, whole = one.expected
    assert 0 < first <= whole
    assert whole / 4 <= one.found.forwards <= 2 * whole
