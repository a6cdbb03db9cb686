import math

import numpy as np
import pyarrow as pa
import pytest

from telemetry.diagnose.judgement.replayed_levels import replayed
from telemetry.store.sessions.rows import Rows

STEPS = np.arange(6)


def followed(*, root: float, constant: float, naive: float) -> Rows:
    """A loss of six steps whose graph was followed each time."""
    n = STEPS.size
    return Rows(
        pa.table(
            {
                "step": STEPS,
                "root": [root] * n,
                "calls": [1] * n,
                "constant_loss": [constant] * n,
                "n_constant": [1] * n,
                "naive_loss": [naive] * n,
                "n_naive": [1] * n,
                "operation": ["nll_loss_forward"] * n,
                "head": ["log_softmax"] * n,
                "reason": [""] * n,
                "penalty": pa.nulls(n, pa.float64()),
            }
        )
    )


@pytest.mark.parametrize(("constant", "level"), [(2.1, 2.1), (9.8, math.log(10))])
def test_no_constant_answer_costs_more_than_to_know_nothing(constant: float, level: float) -> None:
    rows = followed(root=2.0, constant=constant, naive=math.log(10))
    levels = replayed(rows, STEPS, np.full(6, 2.0), np.ones(6)).levels
    assert levels is not None
    assert levels.constant == pytest.approx(level)


def test_levels_are_in_the_unit_of_the_recorded_loss() -> None:
    rows = followed(root=2.0, constant=2.1, naive=2.3)
    levels = replayed(rows, STEPS, np.full(6, 0.5), np.ones(6)).levels
    assert levels is not None
    assert levels.constant == pytest.approx(2.1 / 4)
    assert levels.naive == pytest.approx(2.3 / 4)
