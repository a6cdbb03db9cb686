import math

import numpy as np
import pytest

from telemetry.compare.statistics.intervals import Estimate, replicates_difference
from telemetry.compare.statistics.power import detectable, effect_size, replicates_needed
from telemetry.compare.statistics.verdicts import nearest_claim
from telemetry.compare.terms import Direction, Verdict

RUNS = 3


def test_what_is_called_detectable_is_found_in_four_of_five_trials() -> None:
    generator = np.random.default_rng(20260102)
    groups = generator.standard_normal((2_000, 2, RUNS))
    true = Estimate(difference=0.0, standard_error=math.sqrt(2 / RUNS), df=2 * RUNS - 2)
    shift = detectable(true, 0.1)
    found = [
        nearest_claim(replicates_difference(base, other + shift), Direction.LOWER, 0.1).made
        for base, other in groups
    ]
    assert np.mean([verdict is Verdict.REGRESSION for verdict in found]) == pytest.approx(
        0.8, abs=0.04
    )


def test_a_wide_margin_raises_what_is_detectable() -> None:
    estimate = Estimate(difference=0.0, standard_error=0.1)
    assert detectable(estimate, 0.0) == pytest.approx(0.1 * (1.7507 + 0.8416), abs=1e-4)
    assert detectable(estimate, 1.0) == pytest.approx(1.0 + 0.08416, abs=1e-4)


def test_the_effect_size_is_the_corrected_difference_in_deviations() -> None:
    estimate = replicates_difference(np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0]))
    assert effect_size(estimate) == pytest.approx(2.0 * (1 - 3 / 15))
    assert math.isnan(effect_size(Estimate(difference=1.0, standard_error=1.0)))


def test_more_runs_are_needed_for_smaller_differences() -> None:
    few, many, hopeless = (
        replicates_needed(Estimate(difference=d, standard_error=1.0, spread=1.0), 0.1)
        for d in (3.0, 0.8, 0.1)
    )
    assert few is not None
    assert many is not None
    assert few < many
    assert hopeless is None


def test_pairs_need_fewer_runs_than_groups_of_the_same_scatter() -> None:
    groups = Estimate(difference=0.5, standard_error=1.0, df=4, spread=1.0)
    pairs = Estimate(difference=0.5, standard_error=0.1, df=2, spread=1.0, paired=True)
    unpaired, paired = replicates_needed(groups, 0.1), replicates_needed(pairs, 0.1)
    assert unpaired is not None
    assert paired is not None
    assert paired < unpaired
