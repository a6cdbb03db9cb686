from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from example_results import DIAGNOSIS
from hypothesis import given
from hypothesis import strategies as st

from telemetry.capture.live.child import Ended
from telemetry.capture.live.diagnosis import (
    FAILURES_LIMIT,
    FIRST_LOOK_S,
    TIMEOUT_S,
    LiveDiagnosis,
    LookBudget,
)
from telemetry.format.live_findings import LiveFindings, write_findings

FOUND = LiveFindings(findings=DIAGNOSIS.findings, exact=frozenset({"non_finite"}), n_steps=70)
NOTHING = LiveFindings(findings=(), exact=frozenset(), n_steps=70)
DONE = Ended(code=0, cpu_s=1.0)


@dataclass
class FakeChild:
    command: Sequence[str]
    ended: Ended | None = None
    was_killed: bool = False

    def poll(self) -> Ended | None:
        return self.ended

    def kill(self) -> None:
        self.was_killed = True


@dataclass
class Rig:
    """A live diagnosis whose children do what the test says."""

    folder: Path
    share: float | None = None
    children: list[FakeChild] = field(default_factory=list)
    delivered: list[LiveFindings] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    refuses: bool = False
    now_s: float = 100.0
    n_shards: int = 0

    def __post_init__(self) -> None:
        self.file = self.folder / "findings.json"
        self.live = LiveDiagnosis(
            self.folder,
            self.file,
            budget=LookBudget(share=self.share, allowance_s=0.0, n_cores=1),
            deliver=self.delivered.append,
            give_up=self.told.append,
            started_s=self.now_s,
            start=self.start,  # type: ignore[arg-type]
        )

    def start(self, command: Sequence[str]) -> FakeChild:
        if self.refuses:
            raise OSError(12, "Cannot allocate memory")
        self.children.append(FakeChild(command))
        return self.children[-1]

    def turn(self, *, writes: int = 0, n_alarms: int = 0, after_s: float = 1.0) -> None:
        self.n_shards += writes
        self.now_s += after_s
        self.live.turn(self.now_s, n_shards=self.n_shards, n_alarms=n_alarms)

    def judge(self, ended: Ended = DONE) -> None:
        """A whole diagnosis."""
        self.turn(writes=1)
        if self.children and self.children[-1].ended is None:
            self.children[-1].ended = ended
        self.turn()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_findings_are_delivered_when_the_child_has_ended(rig: Rig) -> None:
    rig.turn(writes=3)
    (child,) = rig.children
    assert child.command[1:] == [
        "-m", "telemetry.diagnose", str(rig.folder), "--live", str(rig.file),
    ]  # fmt: skip
    rig.turn()
    assert rig.delivered == []
    write_findings(rig.file, FOUND)
    child.ended = DONE
    rig.turn()
    assert rig.delivered == [FOUND]


def test_there_is_one_child_at_a_time_and_none_without_news(rig: Rig) -> None:
    rig.turn()
    assert rig.children == []
    rig.turn(writes=1)
    rig.turn(writes=1)
    assert len(rig.children) == 1
    rig.children[0].ended = DONE
    rig.turn()
    assert len(rig.children) == 2  # what was written meanwhile
    rig.children[1].ended = DONE
    rig.turn()
    rig.turn()
    assert len(rig.children) == 2


def test_the_budget_decides_unless_the_training_is_about_to_be_lost(tmp_path: Path) -> None:
    rig = Rig(tmp_path, share=0.01)
    rig.turn(writes=1)
    assert rig.children == []  # too early
    rig.turn(writes=1, n_alarms=1)
    assert len(rig.children) == 1
    rig.children[0].ended = DONE
    rig.turn(writes=1, n_alarms=2)
    assert len(rig.children) == 1  # only once
    rig.turn(writes=1, n_alarms=2, after_s=200)
    assert len(rig.children) == 2


def test_failures_are_told_once_and_end_it(rig: Rig) -> None:
    for _ in range(FAILURES_LIMIT + 2):
        rig.judge(Ended(code=-9, cpu_s=0.1))
    assert len(rig.children) == FAILURES_LIMIT
    (told,) = rig.told
    assert "exit code -9" in told


def test_a_success_between_failures_counts(rig: Rig) -> None:
    for _ in range(FAILURES_LIMIT):
        rig.judge(Ended(code=2, cpu_s=0.1))
        write_findings(rig.file, NOTHING)
        rig.judge()
    assert rig.told == []


def test_a_child_that_hangs_is_killed(rig: Rig) -> None:
    rig.turn(writes=1)
    rig.turn(after_s=TIMEOUT_S)
    assert rig.children[0].was_killed
    rig.turn(writes=1)
    assert len(rig.children) == 2


def test_a_child_that_says_nothing_or_nonsense_has_failed(rig: Rig) -> None:
    rig.judge()
    rig.file.write_text("[1]")
    rig.judge()
    rig.file.write_text('{"findings": [{}]}')
    rig.judge()
    assert rig.delivered == []
    assert len(rig.told) == 1


def test_a_system_that_starts_nothing_is_a_failure(rig: Rig) -> None:
    rig.refuses = True
    for _ in range(FAILURES_LIMIT):
        rig.turn(writes=1)
    assert "Cannot allocate memory" in rig.told[0]


def test_the_end_of_the_run_ends_the_child_and_leaves_no_file(rig: Rig) -> None:
    write_findings(rig.file, NOTHING)
    rig.turn(writes=1)
    rig.live.close()
    assert rig.children[0].was_killed
    assert not rig.file.exists()
    rig.turn(writes=1)
    assert len(rig.children) == 1


def test_a_result_of_unknown_exit_is_taken_if_it_is_there(rig: Rig) -> None:
    write_findings(rig.file, FOUND)
    rig.judge(Ended(code=None, cpu_s=None))
    assert rig.delivered == [FOUND]


# --- what it may cost ---

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
    assert looks(budget(), cost_s=0.8)[:7] == [2, 5, 10, 20, 50, 110, 170]


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
