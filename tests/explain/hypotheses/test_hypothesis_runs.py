"""Hypotheses about a model whose strengths and weaknesses are planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from explainable import Numbers, Rows, build_sum
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.evaluate.hypothesis_testing.hypothesis import (
    Expectation,
    Hypothesis,
    Kind,
    Op,
    Towards,
)
from telemetry.explain.evaluation.evaluation import Evaluation
from telemetry.explain.hypotheses.transforms import transform_of
from telemetry.explain.inputs.examples import ExampleSet

pytestmark = pytest.mark.torch


def hypothesis(kind: Kind, transform: str | None = None, name: str = "it-holds") -> Hypothesis:
    return Hypothesis(
        name=name,
        statement="It holds",
        kind=kind,
        base="explainable:Rows",
        expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.9),
        transform=transform,
        where="m_half = '0'" if kind is Kind.SUBSET else None,
    )


def accuracies(*hypotheses: Hypothesis) -> dict[str, float | None]:
    subject = explain.load(build_sum())
    found = explain.run_hypotheses(subject, hypotheses, batch=5)
    return {str(e.rows[0]["hypothesis"]): e.accuracy for e in found}


def test_a_minimum_is_an_evaluation_under_its_name() -> None:
    assert accuracies(hypothesis(Kind.MIN)) == {"it-holds": pytest.approx(10 / 12)}


def test_an_invariance_compares_answers_and_needs_no_labels() -> None:
    found = accuracies(
        hypothesis(Kind.INVARIANCE, "explainable:mirrored", "mirror"),
        hypothesis(Kind.INVARIANCE, "explainable:negated", "negate"),
        hypothesis(Kind.INVARIANCE, "feature:0:0.0", "first-column"),
    )
    assert found[""] == pytest.approx(10 / 12)  # what they start from, once
    assert found["mirror"] == 1.0  # two labels are wrong, and it does not matter
    assert found["negate"] == 0.0
    assert 0.0 < float(found["first-column"] or 0) < 1.0


def test_a_direction_asks_whether_the_model_is_no_less_sure_of_the_truth() -> None:
    found = accuracies(
        hypothesis(Kind.DIRECTION, "explainable:negated", "negate"),
        hypothesis(Kind.DIRECTION, "explainable:mirrored", "mirror"),
    )
    assert found["negate"] == pytest.approx(2 / 12)  # the two whose labels are spoiled
    assert float(found["mirror"] or 0) >= 0.5  # equal but for rounding


def test_a_subset_needs_no_forward_of_its_own() -> None:
    assert set(accuracies(hypothesis(Kind.SUBSET))) == {""}


def test_each_data_set_goes_through_the_model_once_and_examples_are_counted() -> None:
    told: list[tuple[int, int]] = []
    found = explain.run_hypotheses(
        explain.load(build_sum()),
        [
            hypothesis(Kind.MIN, name="good"),
            hypothesis(Kind.SUBSET, name="half"),
            hypothesis(Kind.INVARIANCE, "explainable:mirrored", "mirror"),
        ],
        batch=5,
        progress=lambda done, of: told.append((done, of)),
    )
    assert [e.rows[0]["hypothesis"] for e in found] == ["", "good", "mirror"]
    assert told == [(5, 24), (10, 24), (12, 24), (17, 24), (22, 24), (24, 24)]


def test_changed_examples_keep_their_ids_and_tell_their_inputs_apart() -> None:
    subject = explain.load(build_sum())
    wanted = hypothesis(Kind.INVARIANCE, "explainable:negated")
    plain, changed = explain.run_hypotheses(subject, [wanted], batch=12)
    assert [r["example_id"] for r in plain.rows] == [r["example_id"] for r in changed.rows]
    assert [r["source_id"] for r in changed.rows] == [r["example_id"] for r in plain.rows]
    digests = [[row["input_digest"] for row in found.rows] for found in (plain, changed)]
    assert not set(digests[0]) & set(digests[1])
    assert plain.id != changed.id


def test_what_cannot_be_tested_is_refused() -> None:
    examples = ExampleSet(Rows(), "rows")
    with pytest.raises(UsageError, match=r"does not return \(input, label, metadata\)"):
        transform_of("explainable:torn", examples)(examples.example(0))
    with pytest.raises(UsageError, match=r"inputs of shape .* are not images"):
        transform_of("brightness:+0.2", examples)
    with pytest.raises(UsageError, match="cannot be imported"):
        transform_of("no_such_module:shift", examples)
    with pytest.raises(UsageError, match=r"never exactly equal; .* tolerance = 0\.1"):
        of_numbers(Kind.INVARIANCE, "explainable:mirrored")
    with pytest.raises(UsageError, match="this model returns classes"):
        accuracies(replace(hypothesis(Kind.INVARIANCE, "explainable:mirrored"), tolerance=0.1))


class Total(nn.Module):
    """The sum of a row, exactly."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1)


def of_numbers(kind: Kind, transform: str, **options: object) -> Evaluation:
    wanted = Hypothesis(
        name="it-holds",
        statement="It holds",
        kind=kind,
        base="explainable:Numbers",
        expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.9),
        transform=transform,
        **options,  # type: ignore[arg-type]
    )
    return explain.run_hypotheses(explain.load(Total()), [wanted], batch=4)[1]


def test_an_invariance_of_numbers_holds_within_its_tolerance() -> None:
    assert of_numbers(Kind.INVARIANCE, "explainable:mirrored", tolerance=1e-4).accuracy == 1.0
    twice = np.abs(2 * np.array([float(Numbers()[i][1]) for i in range(12)]))  # what negation moves
    limit = float(np.median(twice))
    halves = of_numbers(Kind.INVARIANCE, "explainable:negated", tolerance=limit)
    assert halves.accuracy == 0.5
    assert halves.id != of_numbers(Kind.INVARIANCE, "explainable:negated", tolerance=9.0).id


def test_a_direction_of_numbers_is_up_down_or_towards_the_truth() -> None:
    sums = np.array([float(Numbers()[i][1]) for i in range(12)])
    up = of_numbers(Kind.DIRECTION, "explainable:negated", towards=Towards.UP)
    down = of_numbers(Kind.DIRECTION, "explainable:negated", towards=Towards.DOWN)
    assert up.accuracy == pytest.approx((sums < 0).mean())
    assert down.accuracy == pytest.approx((sums > 0).mean())
    assert of_numbers(Kind.DIRECTION, "explainable:negated").accuracy == 0.0
    with pytest.raises(UsageError, match="go neither up nor down"):
        accuracies(replace(hypothesis(Kind.DIRECTION, "explainable:negated"), towards=Towards.UP))


def test_an_axis_and_its_value_change_an_image() -> None:
    class Images:
        value_range = (0.0, 1.0)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.full((1, 4, 4), 0.5), 0

    examples = ExampleSet(Images(), "images")
    changed = transform_of("brightness:+0.2", examples)(examples.example(0))
    assert torch.allclose(changed.input, torch.full((1, 4, 4), 0.7))
