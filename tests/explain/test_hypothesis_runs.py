"""Hypotheses about a model whose strengths and weaknesses are planted."""

from dataclasses import replace

import pytest
import torch
from explainable import Numbers, Rows, build_sum
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.evaluate.hypothesis import Expectation, Hypothesis, Kind, Op
from telemetry.explain.examples import ExampleSet
from telemetry.explain.transforms import transform_of

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
    with pytest.raises(UsageError, match=r"gives no \(input, label, metadata\)"):
        transform_of("explainable:torn", examples)(examples.example(0))
    with pytest.raises(UsageError, match=r"inputs of shape .* are no images"):
        transform_of("brightness:+0.2", examples)
    with pytest.raises(UsageError, match="cannot be imported"):
        transform_of("no_such_module:shift", examples)

    class Total(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1)

    wanted = Hypothesis(
        name="equal",
        statement="Equal",
        kind=Kind.INVARIANCE,
        base="explainable:Numbers",
        expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.9),
        transform="explainable:mirrored",
    )
    with pytest.raises(UsageError, match="no two are equal"):
        explain.run_hypotheses(explain.load(Total()), [wanted], batch=4)
    close = replace(wanted, tolerance=0.1)
    _, found = explain.run_hypotheses(explain.load(Total()), [close], batch=4)
    assert found.accuracy == 1
    near = replace(close, transform="feature:0:0")  # a sum of which one part is missing
    _, found = explain.run_hypotheses(explain.load(Total()), [near], batch=4)
    missing = [abs(float(Numbers()[i][0][0])) for i in range(12)]
    assert found.accuracy == pytest.approx(sum(part <= 0.1 for part in missing) / 12)
    assert 0 < found.accuracy < 1
    with pytest.raises(UsageError, match="this one has classes"):
        rows = replace(close, base="explainable:Rows")
        explain.run_hypotheses(explain.load(build_sum()), [rows], batch=4)


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
