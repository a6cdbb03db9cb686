import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from loader_loops import Clock, Loop, SlowData, Stream, epoch_events, without_fingerprint
from provenance import column
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from telemetry.capture.data import loaders


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loaders, "_clock", clock)
    return clock


@pytest.fixture
def loop(tmp_path: Path, clock: Clock) -> Iterator[Loop]:
    del clock  # before the loop is recorded
    loop = Loop(tmp_path)
    yield loop
    loop.close()


def test_each_step_knows_its_wait_and_its_epoch(loop: Loop, clock: Clock) -> None:
    loader = DataLoader(SlowData(6, clock, 0.25), batch_size=2)
    for _ in range(2):
        for batch in loader:
            loop.train(batch)
    telemetry = loop.close()
    assert column(telemetry, "data_s") == [0.5] * 6
    assert column(telemetry, "epoch") == [0, 0, 0, 1, 1, 1]


def test_a_loop_without_a_loader_has_neither(loop: Loop) -> None:
    loop.train(torch.ones(2, 1))
    telemetry = loop.close()
    assert column(telemetry, "data_s") == [None]
    assert column(telemetry, "epoch") == [None]
    assert epoch_events(telemetry) == []


def test_a_validation_loader_is_nobodys_wait(loop: Loop, clock: Clock) -> None:
    training = DataLoader(SlowData(2, clock, 1.0), batch_size=1)
    validation = DataLoader(SlowData(3, clock, 64.0), batch_size=1)
    for batch in validation:  # a sanity check before the training
        loop.evaluate(batch)
        break
    for _ in range(2):
        for batch in training:
            loop.train(batch)
        for batch in validation:
            loop.evaluate(batch)
        loop.telemetry.log(val_loss=1.0)
    telemetry = loop.close()
    assert column(telemetry, "data_s") == [1.0] * 4
    assert column(telemetry, "epoch") == [0, 0, 1, 1]
    (event,) = epoch_events(telemetry)
    assert without_fingerprint(event) == (
        '{"dataset": "SlowData", "dataset_size": 2, "batches": 2, "batch_size": 1, '
        '"sampler": "SequentialSampler", "drop_last": false, "workers": 0}'
    )


def test_accumulated_micro_batches_wait_together(loop: Loop, clock: Clock) -> None:
    for first, second in _pairs(DataLoader(SlowData(4, clock, 1.0), batch_size=1)):
        loop.optimizer.zero_grad()
        loop.model(first).sum().backward()
        loop.model(second).sum().backward()
        loop.optimizer.step()
        loop.telemetry.step()
    assert column(loop.close(), "data_s") == [2.0, 2.0]


def _pairs(loader: DataLoader[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    iterator = iter(loader)
    return zip(iterator, iterator, strict=False)


def test_without_step_calls_the_wait_is_of_the_step_that_reads_the_batch(
    loop: Loop, clock: Clock
) -> None:
    for index, batch in enumerate(DataLoader(SlowData(3, clock, 1.0), batch_size=1)):
        clock.now_s += 100.0  # of no loader
        loop.optimizer.zero_grad()
        loop.model(batch).sum().backward()
        loop.optimizer.step()
        assert index < 3
    assert column(loop.close(), "data_s") == [1.0] * 3


def test_two_loaders_that_feed_one_step_add_up_and_the_first_counts(
    loop: Loop, clock: Clock
) -> None:
    labelled = DataLoader(SlowData(4, clock, 1.0), batch_size=1)
    others = DataLoader(SlowData(2, clock, 10.0), batch_size=1)
    for _ in range(2):
        for index, first in enumerate(labelled):
            if index % 2 == 0:
                iterator = iter(others)
            loop.train(first, next(iterator))
    telemetry = loop.close()
    assert column(telemetry, "data_s") == [11.0] * 8
    assert column(telemetry, "epoch") == [0] * 4 + [1] * 4
    assert len(epoch_events(telemetry)) == 2


def test_loaders_that_take_turns_do_not_begin_an_epoch_at_each_turn(
    loop: Loop, clock: Clock
) -> None:
    first = DataLoader(SlowData(4, clock, 1.0), batch_size=1)
    second = DataLoader(SlowData(4, clock, 2.0), batch_size=1)
    begun = iter(first), iter(second)
    for _ in range(4):
        for iterator in begun:
            loop.train(next(iterator))
    telemetry = loop.close()
    assert column(telemetry, "epoch") == [0] * 8
    assert column(telemetry, "data_s") == [1.0, 2.0] * 4


def test_a_teacher_may_look_at_the_batch_first(loop: Loop, clock: Clock) -> None:
    for batch in DataLoader(SlowData(2, clock, 1.0), batch_size=1):
        loop.evaluate(batch)
        loop.train(batch)
    assert column(loop.close(), "data_s") == [1.0, 1.0]


def test_what_was_read_before_the_training_is_not_its_wait(loop: Loop, clock: Clock) -> None:
    loader = DataLoader(SlowData(4, clock, 1.0), batch_size=2)
    total = sum(float(batch.sum()) for batch in loader)
    for batch in loader:
        loop.train(batch)
    assert total == 6.0
    telemetry = loop.close()
    assert column(telemetry, "data_s") == [2.0, 2.0]
    assert column(telemetry, "epoch") == [0, 0]


def test_a_step_on_data_of_its_own_after_an_evaluation_did_not_wait(
    loop: Loop, clock: Clock
) -> None:
    for batch in DataLoader(SlowData(2, clock, 1.0), batch_size=1):
        loop.evaluate(batch)
    loop.train(torch.ones(1, 1))
    assert column(loop.close(), "data_s") == [None]


def test_a_stream_without_a_length_counts_its_batches(loop: Loop, clock: Clock) -> None:
    loader = DataLoader(Stream(5, clock), batch_size=2)
    for _ in range(2):
        for batch in loader:
            loop.train(batch)
    telemetry = loop.close()
    # The third batch of a pass comes with the end of the stream.
    assert column(telemetry, "data_s") == [2.0, 2.0, 1.0] * 2
    assert column(telemetry, "epoch") == [0, 0, 0, 1, 1, 1]
    messages = [event["message"] for event in epoch_events(telemetry)]
    assert messages == [
        "training reads Stream with an unknown number of samples",
        "training reads Stream with an unknown number of samples, 3 batches per epoch",
    ]


def test_an_endless_iterator_counts_an_epoch_each_time_it_begins_again(
    loop: Loop, clock: Clock
) -> None:
    def cycle(loader: DataLoader[Tensor]) -> Iterator[Tensor]:
        while True:
            yield from loader

    batches = cycle(DataLoader(SlowData(3, clock, 1.0), batch_size=1))
    for _ in range(7):
        loop.train(next(batches))
    assert column(loop.close(), "epoch") == [0, 0, 0, 1, 1, 1, 2]


def test_an_iterator_made_anew_in_each_step_is_an_epoch_of_one_batch(
    loop: Loop, clock: Clock
) -> None:
    loader = DataLoader(SlowData(3, clock, 1.0), batch_size=1)
    for _ in range(200):
        loop.train(next(iter(loader)))
    telemetry = loop.close()
    assert column(telemetry, "epoch") == list(range(200))
    assert column(telemetry, "data_s") == [1.0] * 200
    assert len(epoch_events(telemetry)) == 1


def test_a_loader_made_anew_for_each_epoch_continues_the_count(loop: Loop, clock: Clock) -> None:
    data = SlowData(2, clock, 1.0)
    for _ in range(3):
        for batch in DataLoader(data, batch_size=1):
            loop.train(batch)
    telemetry = loop.close()
    assert column(telemetry, "epoch") == [0, 0, 1, 1, 2, 2]
    assert len(epoch_events(telemetry)) == 1


def test_a_pass_that_had_begun_before_is_the_first_epoch(tmp_path: Path, clock: Clock) -> None:
    loader = DataLoader(SlowData(3, clock, 1.0), batch_size=1)
    begun = iter(loader)
    next(begun)
    loop = Loop(tmp_path)
    for batch in begun:
        loop.train(batch)
    for batch in loader:
        loop.train(batch)
    telemetry = loop.close()
    assert len(epoch_events(telemetry)) == 1
    assert column(telemetry, "data_s") == [1.0] * 5
    assert column(telemetry, "epoch") == [0, 0, 1, 1, 1]


def test_a_thread_that_reads_ahead_is_not_waited_for(loop: Loop, clock: Clock) -> None:
    batches: list[Tensor] = []
    loader = DataLoader(SlowData(2, clock, 1.0), batch_size=1)
    thread = threading.Thread(target=lambda: batches.extend(loader))
    thread.start()
    thread.join()
    for batch in batches:
        loop.train(batch)
    assert column(loop.close(), "data_s") == [None, None]


def test_a_loader_inside_a_data_set_is_not_counted_twice(loop: Loop, clock: Clock) -> None:
    class Nested(IterableDataset[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            yield from DataLoader(SlowData(2, clock, 1.0), batch_size=None)

    for batch in DataLoader(Nested(), batch_size=1):
        loop.train(batch)
    assert column(loop.close(), "data_s") == [1.0, 1.0]


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_are_waited_for(tmp_path: Path, *, persistent: bool) -> None:
    loop = Loop(tmp_path)
    data = TensorDataset(torch.arange(4.0)[:, None])
    loader = DataLoader(data, batch_size=2, num_workers=1, persistent_workers=persistent)
    seen: list[float] = []
    for _ in range(2):
        for (batch,) in loader:
            seen += batch.flatten().tolist()
            loop.train(batch)
    telemetry = loop.close()
    assert seen == [0.0, 1.0, 2.0, 3.0] * 2
    assert column(telemetry, "epoch") == [0, 0, 1, 1]
    assert all(float(str(seconds)) > 0 for seconds in column(telemetry, "data_s"))


def test_the_end_of_a_pass_is_waited_for_by_the_next_step(loop: Loop, clock: Clock) -> None:
    class Ending(IterableDataset[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            for _ in range(2):
                clock.now_s += 1.0
                yield torch.ones(1)
            clock.now_s += 8.0

    for _ in range(2):
        for batch in DataLoader(Ending(), batch_size=1):
            loop.train(batch)
    assert column(loop.close(), "data_s") == [1.0, 1.0, 9.0, 1.0]


def test_two_steps_between_calls_have_their_own_waits_and_epochs(loop: Loop, clock: Clock) -> None:
    batches = DataLoader(SlowData(3, clock, 1.0), batch_size=1)
    loop.train(next(iter(batches)))
    for batch in batches:
        loop.optimizer.zero_grad()
        loop.model(batch).sum().backward()
        loop.optimizer.step()
    loop.telemetry.step()
    telemetry = loop.close()
    assert column(telemetry, "data_s") == [1.0] * 4
    assert column(telemetry, "epoch") == [0, 1, 1, 1]
