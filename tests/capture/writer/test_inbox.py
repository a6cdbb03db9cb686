from dataclasses import dataclass

from recorded import TensorPacket, step_rows

from telemetry.capture.writer.inbox import NO_STEP, QUEUED_BYTES_LIMIT, WAKE_BYTES, Inbox


@dataclass
class Heavy:
    """A packet that claims to hold much memory."""

    n_bytes: int

    def rows(self) -> list[tuple[str, object]]:
        return []


def test_packets_come_out_in_their_order_and_once() -> None:
    inbox = Inbox()
    packets = [TensorPacket(step=step) for step in range(3)]
    for packet in packets:
        inbox.put(packet)
    assert inbox.take() == packets
    assert inbox.take() == []
    assert inbox.queued_bytes == 0


def test_too_much_waiting_is_refused_and_counted() -> None:
    inbox = Inbox()
    inbox.put(Heavy(QUEUED_BYTES_LIMIT - 1))
    inbox.put(Heavy(2))
    assert inbox.n_refused == 1
    assert len(inbox.take()) == 1
    inbox.put(Heavy(2))
    assert inbox.n_refused == 1


def test_steps_and_events_still_pass_when_samples_are_refused() -> None:
    inbox = Inbox()
    inbox.put(Heavy(QUEUED_BYTES_LIMIT))
    inbox.put(Heavy(1))
    inbox.put(step_rows(range(1)))
    assert inbox.n_refused == 1
    assert len(inbox.take()) == 2
    inbox.put(Heavy(QUEUED_BYTES_LIMIT))
    inbox.put(step_rows(range(50_000)))
    assert inbox.n_refused == 2


def test_much_waiting_wakes_the_writer() -> None:
    inbox = Inbox()
    inbox.put(Heavy(WAKE_BYTES - 1))
    assert not inbox.wake.is_set()
    inbox.put(Heavy(1))
    assert inbox.wake.is_set()


def test_a_closed_inbox_takes_nothing() -> None:
    inbox = Inbox()
    inbox.is_open = False
    inbox.put(Heavy(1))
    assert inbox.take() == []
    assert inbox.n_refused == 0


def test_steps_are_marked_and_never_go_back() -> None:
    inbox = Inbox()
    assert (inbox.first_step, inbox.last_step) == (None, NO_STEP)
    for step in (5, 6, 4):
        inbox.mark_step(step)
    assert (inbox.first_step, inbox.last_step) == (5, 6)
