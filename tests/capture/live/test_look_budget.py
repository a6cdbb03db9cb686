from hypothesis import given
from hypothesis import strategies as st

from telemetry.capture.live.look_budget import FIRST_LOOK_S, LookBudget

# As the publisher flushes: at once a few times, then each half minute.
FLUSHES_S = (1.0, 2.0, 5.0, 10.0, 20.0, *(20.0 + 30.0 * k for k in range(1, 500)))


def looks(budget: LookBudget, *, cost_s: float) -> list[float]:
    """When a run is judged whose diagnoses take this long."""
    times = []
    for now_s in FLUSHES_S:
        if budget.allows(now_s):
            budget.began(now_s)
            budget.charge(cost_s)
            times.append(now_s)
    return times


def budget(share: float | None = 0.01, *, allowance_s: float = 2.0, n_cores: int = 2) -> LookBudget:
    return LookBudget(share=share, allowance_s=allowance_s, n_cores=n_cores)


def test_the_allowance_is_spread_over_the_first_minutes() -> None:
    assert looks(budget(), cost_s=0.8)[:6] == [5, 10, 20, 50, 110, 170]


def test_without_a_limit_every_flush_counts() -> None:
    assert looks(budget(None), cost_s=100) == list(FLUSHES_S)


def test_with_one_core_the_gaps_are_twice_as_long() -> None:
    for n_cores, gap_s in ((2, 120), (1, 210)):  # 2 s in 100 and in 200, at the next flush
        *_, before, last = looks(budget(n_cores=n_cores), cost_s=2.0)
        assert last - before == gap_s


def test_without_an_allowance_the_first_diagnosis_still_comes() -> None:
    assert looks(budget(allowance_s=0.0), cost_s=0.8)[:2] == [FIRST_LOOK_S, 50]


@given(
    st.floats(0.001, 0.1),
    st.floats(0, 10),
    st.integers(1, 64),
    st.floats(0.1, 60),
)
def test_the_cost_stays_within_the_budget(
    share: float, allowance_s: float, n_cores: int, cost_s: float
) -> None:
    """But for the first one, whose cost nobody knows before."""
    kept = budget(share, allowance_s=allowance_s, n_cores=n_cores)
    last_s = max(looks(kept, cost_s=cost_s))
    promised_s = n_cores * (allowance_s + share * last_s) + cost_s
    assert kept.spent_s <= promised_s * (1 + 1e-9)
