"""How far a run came, as a grade."""

import numpy as np
import pytest
from judged_runs import learning, stalled

from telemetry.diagnose.judgement.evaluations import Evaluated
from telemetry.diagnose.judgement.harm import Harm, Reach, reach
from telemetry.diagnose.judgement.progress import Baseline, progress

CLASSES = Baseline(naive=2.3, constant=2.3, commonest=0.1, kind="cross_entropy")


def graded(losses: list[float], *, accuracy: float | None = None, ended: bool = True) -> Reach:
    values = np.array(losses)
    own = [] if accuracy is None else [
        Evaluated(name="val_accuracy", steps=np.arange(3), values=np.full(3, -accuracy),
                  is_loss=False)
    ]  # fmt: skip
    return reach(
        progress(values, CLASSES), CLASSES, own, first_loss=losses[0], n_steps=values.size,
        ended=ended,
    )  # fmt: skip


def test_the_share_of_what_there_was_to_gain() -> None:
    found = graded(learning(200, end=0.23), accuracy=0.91)
    assert found.harm is Harm.NONE
    assert found.gained == pytest.approx(0.9, abs=0.02)
    assert found.evaluated == pytest.approx(0.9)


def test_a_run_that_answers_alike_fails() -> None:
    assert graded(stalled(2.3, 200)).harm is Harm.FAILS


def test_a_little_and_no_more_is_a_grade_of_its_own() -> None:
    losses = [2.3, *learning(60, start=2.3, end=1.9), *stalled(1.9, 240, noise=0.005)]
    assert graded(losses).harm is Harm.LITTLE
    assert graded(losses, accuracy=0.6).harm is Harm.NONE  # dropout hides it in training


def test_a_short_run_is_not_known_to_fail() -> None:
    assert graded([2.3] * 12).harm in {Harm.UNKNOWN, Harm.UNMEASURED}


def test_a_fall_from_a_bad_start_fails_where_it_ends_above_the_constant_answer() -> None:
    losses = list(np.linspace(30.0, 2.9, 300))
    assert graded(losses, ended=False).harm is not Harm.NONE


def test_a_fall_to_the_constant_answer_and_no_further_has_gained_nothing() -> None:
    losses = [*np.linspace(9.0, 2.3, 40), *stalled(2.3, 260)]
    assert graded(losses).harm is Harm.FAILS
    assert graded(losses[:90]).harm is not Harm.FAILS  # too short to tell


def test_a_loss_that_stays_fails_wherever_it_began_unless_an_evaluation_says_otherwise() -> None:
    assert graded(stalled(1.5, 200)).harm is Harm.FAILS
    assert graded(stalled(1.5, 200), accuracy=0.5).harm is Harm.NONE


@pytest.mark.parametrize(
    ("accuracy", "grade"), [(None, Harm.UNKNOWN), (0.08, Harm.FAILS), (0.15, Harm.LITTLE)]
)
def test_an_evaluation_tells_of_a_run_whose_losses_are_too_noisy(
    accuracy: float | None, grade: Harm
) -> None:
    """From far above to a level about that of guessing, where one batch is like no other."""
    noise = 1.5 * np.random.default_rng(0).standard_normal(200)
    losses = list(np.abs(2.9 + np.where(np.arange(200) < 20, 8.0, 0.0) + noise))
    found = graded(losses, accuracy=accuracy)
    assert found.gained < 0
    assert found.harm is grade
