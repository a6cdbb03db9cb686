"""Hypotheses of models that answer with numbers: losses, errors, tolerances."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from judged_examples import DATASET
from judged_models import HALF, N, compared, write
from synthetic import START

from telemetry import Store
from telemetry.compare.terms import Verdict
from telemetry.evaluate.hypothesis_testing import comparison as hypotheses
from telemetry.evaluate.hypothesis_testing.hypothesis import Expectation, Hypothesis, Kind, Op


def test_losses_are_compared_where_nothing_is_right_or_wrong(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    base = generator.gamma(2.0, size=N)
    for seed in range(4):
        shifted = base * (1 + 0.02 * generator.normal()) + 0.05 * generator.normal(size=N)
        blank = {"": np.ones(N, dtype=np.bool_)}
        write(tmp_path, f"seed-{seed}", blank, loss=shifted.tolist(), correct=[None] * N)
    write(
        tmp_path,
        "candid",
        {"": np.ones(N, dtype=np.bool_)},
        loss=(base * 1.5).tolist(),
        correct=[None] * N,
    )
    (found,) = compared(tmp_path).results
    assert (found.metric, found.verdict) == ("loss", Verdict.REGRESSION)
    assert found.n_base_right_only is None
    assert found.delta > 0


def numbers(store: Path, name: str, errors: npt.NDArray[np.float64]) -> None:
    """A run of a regression whose answers miss the target 5 by that much."""
    blank = {"": np.ones(N, dtype=np.bool_)}
    write(
        store,
        name,
        blank,
        correct=[None] * N,
        loss=(errors**2).tolist(),
        target_value=5.0,
        predicted_value=(5.0 + errors).tolist(),
        prediction=None,
    )


def of_numbers(metric: str, op: Op, value: float, tolerance: float | None = None) -> Hypothesis:
    return Hypothesis(
        name="night",
        statement="At night",
        kind=Kind.SUBSET,
        base=DATASET,
        where="m_time = 'night'",
        tolerance=tolerance,
        expect=Expectation(metric=metric, op=op, value=value),
    )


def test_numbers_are_judged_by_their_error_or_within_a_tolerance(tmp_path: Path) -> None:
    errors = np.where(np.array(HALF) == "night", np.linspace(-2, 2, N), 0.5)
    for seed in range(4):
        numbers(tmp_path, f"seed-{seed}", errors * (1 + 0.01 * seed))
    numbers(tmp_path, "candid", errors * 3)
    by_error = of_numbers("mae", Op.AT_MOST, 1.1)
    within = of_numbers("accuracy", Op.AT_LEAST, 0.4, tolerance=1.0)

    (night,) = [r for r in compared(tmp_path, hypotheses=[by_error]).results if r.hypothesis]
    assert (night.metric, night.verdict) == ("mae", Verdict.REGRESSION)
    assert (night.base_value, night.cand_value) == pytest.approx((1.0, 3.0), rel=0.01)
    (night,) = [r for r in compared(tmp_path, hypotheses=[within]).results if r.hypothesis]
    assert (night.metric, night.verdict) == ("accuracy", Verdict.REGRESSION)
    assert (night.base_value, night.cand_value) == pytest.approx((1 / 2, 1 / 6), abs=0.01)

    store = Store.open(tmp_path)
    listed = [
        hypotheses.list_hypotheses(store, [store.select("seed-0")], [wanted])[0]
        for wanted in (by_error, within, of_numbers("accuracy", Op.AT_LEAST, 0.4))
    ]
    assert [entry.holds for entry in listed] == [True, True, None]  # nothing is right, unsaid
    assert [entry.value for entry in listed[:2]] == pytest.approx([1.0, 0.5], abs=0.01)


def test_answers_under_another_rule_are_no_pairs(tmp_path: Path) -> None:
    for name, tolerance in (("seed-0", 0.1), ("candid", 0.5)):
        right = np.ones(N, dtype=np.bool_)
        wanted = Hypothesis(
            name="steady",
            statement="x hardly matters",
            kind=Kind.INVARIANCE,
            base=DATASET,
            transform="feature:x:0",
            tolerance=tolerance,
            expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.9),
        )
        builder = write(tmp_path, name, {"": right, "steady": right})
        builder.add("hypotheses", **wanted.to_row(), written_at=START).write()
    found = compared(tmp_path)
    assert [result.hypothesis for result in found.results] == [""]
    (told,) = found.warnings
    assert told.startswith("steady was a different hypothesis when the base was tested")


def test_a_relative_expectation_holds_against_the_whole_data_set(tmp_path: Path) -> None:
    numbers(tmp_path, "seed-0", np.where(np.array(HALF) == "night", 2.0, 1.0))
    store = Store.open(tmp_path)
    for allowed, holds in ((0.6, True), (0.4, False)):  # 2 against a mean of 1.5
        wanted = of_numbers("mae", Op.NO_WORSE_THAN, allowed)
        (listed,) = hypotheses.list_hypotheses(store, store.runs(), [wanted])
        assert listed.holds is holds
