import pytest

from telemetry.capture.steps.ledger import (
    AGAIN_LIMIT,
    EXPECTED_STEPS,
    MANY_CALLS,
    StepLedger,
    metric_phase,
)
from telemetry.format.step_flags import StepFlag


def ledger(n_optimizers: int = 1) -> StepLedger:
    return StepLedger(n_optimizers=n_optimizers, now_s=0.0)


def end(book: StepLedger, now_s: float = 1.0) -> int:
    return book.end(now_s=now_s, overhead_s=0.0).step


def test_without_calls_a_step_ends_when_its_only_optimizer_has_stepped() -> None:
    book = ledger()
    assert book.stepped(0)
    assert end(book) == 0
    assert book.current.step == 1


def test_without_calls_two_optimizers_share_a_step() -> None:
    book = ledger(2)
    assert not book.stepped(0)
    assert book.stepped(1)


def test_an_optimizer_that_never_steps_does_not_hold_steps_back() -> None:
    book = ledger(2)
    for _ in range(AGAIN_LIMIT - 1):  # a call might yet end the first step
        assert not book.stepped(0)
        assert not book.must_end_before(0)
    assert not book.stepped(0)
    for _ in range(EXPECTED_STEPS + 1):
        assert book.must_end_before(0)
        end(book)
        ends = book.stepped(0)
    assert ends


def test_in_the_first_step_a_critic_may_step_often_before_a_call_comes() -> None:
    book = ledger(2)
    for _ in range(5):
        assert not book.must_end_before(1)
        assert not book.stepped(1)
    assert book.stepped(0)
    end(book)
    assert not book.call(0.5), "it is that of the step that has ended"
    assert book.ended[-1].losses == (0.5,)


def test_without_calls_the_optimizer_that_stepped_first_begins_a_step() -> None:
    book = ledger(2)
    book.stepped(1)
    book.stepped(0)
    end(book)
    assert not book.stepped(1)
    assert book.must_end_before(1)
    end(book)
    assert not book.stepped(1)
    assert not book.must_end_before(0)
    assert book.stepped(0)


def test_with_calls_the_call_is_the_boundary() -> None:
    book = ledger()
    book.stepped(0)
    end(book)
    assert not book.call(0.5), "the hooks had already ended step 0"
    assert not book.stepped(0)
    assert book.call(0.4)
    end(book)
    losses = [record.losses for record in book.take(final=True)]
    assert losses == [(0.5,), (0.4,)]


def test_calls_before_the_optimizer_steps_are_averaged_into_the_coming_step() -> None:
    book = ledger()
    book.stepped(0)
    end(book)
    book.call(1.0)
    assert not book.call(2.0)
    assert not book.call(4.0)
    book.stepped(0)
    assert book.call(6.0)
    end(book)
    assert book.take(final=True)[1].losses == (
        2.0,
        4.0,
        6.0,
    )


def test_a_critic_may_step_often_between_calls() -> None:
    book = ledger(2)
    book.stepped(0)
    book.stepped(1)
    end(book)
    book.call(None)
    for _ in range(5):
        assert not book.must_end_before(0)
        assert not book.stepped(0)
    assert not book.first_in_step(0)
    assert not book.stepped(1)
    assert book.call(None)


def test_a_single_optimizer_that_steps_twice_between_calls_made_two_steps() -> None:
    book = ledger()
    book.stepped(0)
    end(book)
    book.call(None)
    book.stepped(0)
    assert book.must_end_before(0)


def test_calls_count_as_steps_when_no_optimizer_ever_steps() -> None:
    book = ledger()
    ends = [book.call(0.1) for _ in range(MANY_CALLS)]
    assert ends == [False] * (MANY_CALLS - 1) + [True]
    assert book.never_stepped
    end(book)
    assert book.call(0.1)


def test_the_newest_closed_step_waits_for_its_loss() -> None:
    book = ledger()
    for _ in range(3):
        book.stepped(0)
        end(book)
    assert [record.step for record in book.take(final=False)] == [0, 1]
    assert [record.step for record in book.take(final=True)] == [2]


def test_a_log_belongs_to_the_last_step_begun() -> None:
    book = ledger()
    assert book.last_begun.step == 0
    book.stepped(0)
    end(book)
    assert book.last_begun.step == 0
    book.current.samples = 8
    assert book.last_begun.step == 1


def test_times_are_differences_of_the_clock_without_own_cost() -> None:
    book = ledger()
    book.stepped(0)
    book.end(now_s=2.0, overhead_s=0.5)
    book.stepped(0)
    record = book.end(now_s=5.0, overhead_s=1.0)
    assert (record.elapsed_s, record.step_s, record.overhead_s) == (5.0, 2.0, 1.0)


def test_a_reported_loss_is_flagged() -> None:
    book = ledger()
    book.call(0.5)
    assert book.current.flags == StepFlag.LOSS_REPORTED


@pytest.mark.parametrize(
    ("name", "closes", "phase"),
    [
        ("val_loss", False, "eval"),
        ("test/accuracy", False, "eval"),
        ("accuracy", True, "eval"),
        ("accuracy", False, "train"),
        ("train_accuracy", True, "train"),
    ],
)
def test_phase_of_a_metric_by_name_then_by_evaluation(name: str, closes: bool, phase: str) -> None:  # noqa: FBT001
    assert metric_phase(name, closes_evaluation=closes) == phase
