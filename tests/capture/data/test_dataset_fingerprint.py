from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from telemetry.capture.data.dataset_fingerprint import dataset_fingerprint

ROWS = torch.arange(4000.0).view(1000, 4)


def rows(change: float = 0.0, at: int = 0) -> TensorDataset:
    values = ROWS.clone()
    values[at] += change
    return TensorDataset(values, torch.zeros(1000, dtype=torch.int64))


def test_equal_contents_have_equal_fingerprints() -> None:
    found = dataset_fingerprint(rows())
    assert found is not None
    assert len(found) == 16
    assert dataset_fingerprint(rows()) == found
    assert dataset_fingerprint(rows(1.0)) != found
    assert dataset_fingerprint(TensorDataset(ROWS[:999], torch.zeros(999))) != found


def test_parts_of_data_sets_are_told_apart() -> None:
    base = rows()
    parts = [Subset(base, range(500)), Subset(base, range(500, 1000)), ConcatDataset([base, base])]
    found = [dataset_fingerprint(part) for part in (base, *parts)]
    assert len({*found}) == 4
    assert dataset_fingerprint(Subset(rows(), range(500))) == found[1]


class Files(Dataset[str]):
    """Names of files and their classes, as those of a folder of images."""

    def __init__(self, root: str, names: list[str]) -> None:
        self.root = Path(root)
        self.samples = [(f"{root}/{name}", index) for index, name in enumerate(names)]
        self.transform = lambda image: image


def test_folders_differ_between_machines_and_names_tell() -> None:
    here = dataset_fingerprint(Files("/home/a/images", ["x.png", "y.png"]))
    assert here == dataset_fingerprint(Files("/mnt/b/images", ["x.png", "y.png"]))
    assert here != dataset_fingerprint(Files("/home/a/images", ["x.png", "z.png"]))


class Drawing(Dataset[Tensor]):
    """Draws random numbers whenever it is asked for anything."""

    def __init__(self) -> None:
        self.values = np.arange(10)

    def __len__(self) -> int:
        return int(torch.randint(1, 9, ()))

    def __getitem__(self, index: int) -> Tensor:
        return torch.rand(())

    def __iter__(self) -> Iterator[Tensor]:
        yield torch.rand(())


def test_no_method_of_a_data_set_is_called() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert dataset_fingerprint(Drawing()) is not None
    assert torch.equal(before, torch.get_rng_state())


class Stream(IterableDataset[Tensor]):
    """Holds nothing."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Tensor]:
        raise AssertionError


class Attributeless:
    __slots__ = ()


@pytest.mark.parametrize("dataset", [Stream(3), Attributeless(), None, 3])
def test_what_holds_no_data_has_no_fingerprint(dataset: object) -> None:
    assert dataset_fingerprint(dataset) is None


def test_a_library_that_keeps_a_fingerprint_is_believed() -> None:
    kept = rows()
    kept._fingerprint = "abcdef0123456789aa"  # type: ignore[attr-defined]
    assert dataset_fingerprint(kept) == "abcdef0123456789"


@pytest.mark.parametrize(
    "values",
    [
        torch.zeros(0),
        torch.zeros(4, device="meta"),
        torch.zeros(4, 4).t()[1:],
        torch.zeros(3).to_sparse(),
        torch.zeros(3, dtype=torch.complex64).conj(),
        torch.zeros(4, dtype=torch.bfloat16),
        np.array([object()]),
        np.zeros((0, 3)),
        np.zeros((4, 4)).T,
    ],
    ids=range(9),
)
def test_odd_contents_are_told_by_shape_and_type(values: object) -> None:
    found = dataset_fingerprint([values])
    assert found is not None
    assert found == dataset_fingerprint([values])


def test_a_file_in_memory_is_read_at_few_places(tmp_path: Path) -> None:
    values = np.memmap(tmp_path / "data", dtype=np.int64, mode="w+", shape=(100_000,))
    values[:] = np.arange(100_000)
    found = dataset_fingerprint([values])
    assert found == dataset_fingerprint([values])
    values[0] = 1
    assert found != dataset_fingerprint([values])


def test_a_list_that_contains_itself_ends() -> None:
    endless: list[object] = [1, 2]
    endless.append(endless)
    assert dataset_fingerprint(endless) is not None
