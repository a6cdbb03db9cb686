from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loader_loops import Clock, Loop, Stream, epoch_events, without_fingerprint
from provenance import column
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Sampler, TensorDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter, _SingleProcessDataLoaderIter

ORIGINALS = (DataLoader.__iter__, _BaseDataLoaderIter.__next__)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    yield loop
    loop.close()


class Broken(TensorDataset):
    def __len__(self) -> int:
        raise RuntimeError("no length today")


class Drawing(Sampler[int]):
    """Draws random numbers when it is asked for its length."""

    def __len__(self) -> int:
        return int(torch.randint(1, 9, ()))

    def __iter__(self) -> Iterator[int]:
        return iter([0, 1])


def test_samplers_of_users_are_not_asked_for_a_length(loop: Loop) -> None:
    torch.manual_seed(0)
    expected = torch.get_rng_state()
    loader = DataLoader(Broken(torch.ones(3, 1)), batch_size=1, sampler=Drawing(), generator=None)
    base_seed = torch.empty((), dtype=torch.int64)
    iterator = iter(loader)
    after = torch.get_rng_state()
    torch.set_rng_state(expected)
    base_seed.random_()  # what torch itself draws
    assert torch.equal(after, torch.get_rng_state())
    loop.train(next(iterator)[0])
    (event,) = epoch_events(loop.close())
    assert without_fingerprint(event) == (
        '{"dataset": "Broken", "dataset_size": null, "batches": null, "batch_size": 1, '
        '"sampler": "Drawing", "drop_last": false, "workers": 0}'
    )


def test_an_iterable_loader_is_not_asked_for_its_length(
    loop: Loop, recwarn: pytest.WarningsRecorder
) -> None:
    class Short(IterableDataset[Tensor]):
        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[Tensor]:
            yield from torch.ones(3, 1)

    loader = DataLoader(Short(), batch_size=1)
    for batch in loader:
        loop.train(batch)
    assert loader._IterableDataset_len_called is None
    assert not [w for w in recwarn if "Length of IterableDataset" in str(w.message)]


def test_batches_are_the_same_objects_and_errors_pass(loop: Loop) -> None:
    batches = [torch.ones(1), torch.zeros(1)]
    loader = DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]
    assert all(a is b for a, b in zip(loader, batches, strict=True))

    class Failing(TensorDataset):
        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            raise KeyError(index)

    with pytest.raises(KeyError, match="0"):
        next(iter(DataLoader(Failing(torch.ones(3, 1)))))
    with pytest.raises(StopIteration):
        next(iter(DataLoader(Stream(0, Clock()))))
    loop.train(torch.ones(1, 1))


class Prefetching(DataLoader[Tensor]):
    """Reads one batch ahead, by a generator."""

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        begun = super().__iter__()
        ahead = next(begun, None)
        while ahead is not None:
            batch, ahead = ahead, next(begun, None)
            yield batch


class OwnIterator(_SingleProcessDataLoaderIter):
    def __next__(self) -> Tensor:
        batch: Tensor = super().__next__()
        return batch * 1.0


class OwnLoader(DataLoader[Tensor]):
    """Has an iterator of its own, and makes it itself."""

    def __iter__(self) -> OwnIterator:  # type: ignore[override]
        return OwnIterator(self)


@pytest.mark.parametrize("kind", [Prefetching, OwnLoader])
def test_subclasses_are_seen(kind: type[DataLoader[Tensor]], tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loader = kind(torch.arange(4.0)[:, None], batch_size=2)  # type: ignore[arg-type]
    for _ in range(2):
        for batch in loader:
            loop.train(batch)
    telemetry = loop.close()
    assert column(telemetry, "epoch") == [0, 0, 1, 1]
    assert all(float(str(seconds)) > 0 for seconds in column(telemetry, "data_s")[:1])
    (event,) = epoch_events(telemetry)
    assert event["message"] == "training reads Tensor with 4 samples, 2 batches per epoch"
    assert "__wrapped__" not in vars(vars(kind)["__iter__"])


def test_torchs_methods_are_put_back_by_the_last_one(tmp_path: Path) -> None:
    def originals() -> tuple[Callable[..., object], ...]:
        return (DataLoader.__iter__, _BaseDataLoaderIter.__next__)

    first, second = Loop(tmp_path), Loop(tmp_path)
    assert originals() != ORIGINALS
    first.close()
    assert originals() != ORIGINALS
    second.close()
    assert originals() == ORIGINALS


def test_what_somebody_replaced_in_the_meantime_is_left(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    observed = _BaseDataLoaderIter.__next__

    def theirs(iterator: _BaseDataLoaderIter) -> object:
        return observed(iterator)

    _BaseDataLoaderIter.__next__ = theirs  # type: ignore[method-assign]
    try:
        loop.close()
        assert _BaseDataLoaderIter.__next__ is theirs
        assert len(list(DataLoader(TensorDataset(torch.ones(3, 1))))) == 3
    finally:
        _BaseDataLoaderIter.__next__ = ORIGINALS[1]  # type: ignore[method-assign]
