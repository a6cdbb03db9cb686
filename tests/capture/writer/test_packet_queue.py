from dataclasses import dataclass

from recorded import TensorPacket, step_rows

from telemetry.capture.writer.loop import NO_STEP, QUEUED_BYTES_LIMIT, WAKE_BYTES, PacketQueue


@dataclass
class Heavy:
    """A packet that claims to hold much memory."""

    n_bytes: int

    def rows(self) -> list[tuple[str, object]]:
        return []


def test_packets_come_out_in_their_order_and_once() -> None:
    queue = PacketQueue()
    packets = [TensorPacket(step=step) for step in range(3)]
    for packet in packets:
        queue.put(packet)
    assert queue.take() == packets
    assert queue.take() == []
    assert queue.queued_bytes == 0


def test_too_much_waiting_is_refused_and_counted() -> None:
    queue = PacketQueue()
    queue.put(Heavy(QUEUED_BYTES_LIMIT - 1))
    queue.put(Heavy(2))
    assert queue.n_refused == 1
    assert len(queue.take()) == 1
    queue.put(Heavy(2))
    assert queue.n_refused == 1


def test_steps_and_events_still_pass_when_samples_are_refused() -> None:
    queue = PacketQueue()
    queue.put(Heavy(QUEUED_BYTES_LIMIT))
    queue.put(Heavy(1))
    queue.put(step_rows(range(1)))
    assert queue.n_refused == 1
    assert len(queue.take()) == 2
    queue.put(Heavy(QUEUED_BYTES_LIMIT))
    queue.put(step_rows(range(50_000)))
    assert queue.n_refused == 2


def test_much_waiting_wakes_the_writer() -> None:
    queue = PacketQueue()
    queue.put(Heavy(WAKE_BYTES - 1))
    assert not queue.wake.is_set()
    queue.put(Heavy(1))
    assert queue.wake.is_set()


def test_a_closed_queue_takes_nothing() -> None:
    queue = PacketQueue()
    queue.is_open = False
    queue.put(Heavy(1))
    assert queue.take() == []
    assert queue.n_refused == 0


def test_steps_are_marked_and_never_go_back() -> None:
    queue = PacketQueue()
    assert (queue.first_step, queue.last_step) == (None, NO_STEP)
    for step in (5, 6, 4):
        queue.mark_step(step)
    assert (queue.first_step, queue.last_step) == (5, 6)
