"""The hash of batches of every kind that a model may be called with."""

from collections import UserDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from provenance import column, opened
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

from telemetry.capture.data.batches import BatchHasher
from telemetry.capture.tensors.inputs import batch_size, leaves_in, tensors_in


@dataclass
class Example:
    """A batch of a user's own class."""

    tokens: Tensor
    name: str = "a"


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Encoding(UserDict[str, Tensor]):
    """A mapping that is no dict, as tokenizers return it."""


def values(seed: int) -> Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))


def sparse(seed: int) -> Tensor:
    return torch.sparse_coo_tensor(
        torch.tensor([[0, seed % 4], [1, 2]]), values(seed)[0, :2], (4, 3)
    )


def nested(seed: int) -> Tensor:
    rows = values(seed)
    return torch.nested.nested_tensor([rows[:3], rows[3:]], layout=torch.jagged)


BATCHES: dict[str, Callable[[int], object]] = {
    "tensor": values,
    "tuple": lambda seed: (values(0), values(seed)),
    "list": lambda seed: [values(seed)],
    "dict": lambda seed: {"x": values(seed), "flag": None},
    "encoding": lambda seed: Encoding(x=values(seed)),
    "dataclass": lambda seed: Example(values(seed)),
    "text of a dataclass": lambda seed: Example(values(0), f"example {seed}"),
    "named tuple": lambda seed: Pair(values(0), values(seed)),
    "nested containers": lambda seed: {"a": [(values(0), {"b": Example(values(seed))})]},
    "packed": lambda seed: pack_sequence([values(seed), values(seed)[:2]]),
    "places of a sparse one": lambda seed: torch.sparse_coo_tensor(
        torch.tensor([[0, seed], [1, 2]]), torch.ones(2), (4, 3)
    ),
    "values of a sparse one": lambda seed: torch.sparse_coo_tensor(
        torch.tensor([[0, 1], [1, 2]]), values(seed)[0, :2], (4, 3)
    ),
    "sparse": sparse,
    "coalesced": lambda seed: sparse(seed).coalesce(),
    "sparse rows": lambda seed: sparse(seed).to_sparse_csr(),
    "sparse columns": lambda seed: sparse(seed).to_sparse_csc(),
    "jagged": nested,
    "nested": lambda seed: torch.nested.nested_tensor([values(0), values(seed)[:2]]),
    "rows of a nested one": lambda seed: torch.nested.nested_tensor(
        [values(0)[:seed], values(0)[seed:]]
    ),
    "quantized": lambda seed: torch.quantize_per_tensor(values(seed), 0.1, 0, torch.qint8),
    "complex": lambda seed: torch.complex(values(0), values(seed)),
    "conjugated": lambda seed: torch.complex(values(0), values(seed)).conj(),
    "negated": lambda seed: torch.complex(values(0), values(seed)).conj().imag,
    "bool": lambda seed: values(seed) > 0,
    "half": lambda seed: values(seed).half(),
    "float8": lambda seed: values(seed).to(torch.float8_e4m3fn),
    "transposed": lambda seed: values(seed).T,
    "a part": lambda seed: values(seed)[:, :-1],
    "with gradient": lambda seed: values(seed).requires_grad_(),
    "subclass": lambda seed: nn.Parameter(values(seed)),
    "scalar": lambda seed: values(seed)[0, 0],
    "array": lambda seed: values(seed).numpy(),
    "array of doubles": lambda seed: values(seed).double().numpy()[:, ::-1],
    "complex array": lambda seed: (
        torch.complex(values(0), values(seed)).to(torch.complex128).numpy()
    ),
    "read-only array": lambda seed: np.frombuffer(values(seed).numpy().tobytes(), np.float32),
    "array of words": lambda seed: np.array(["one", f"word {seed}"]),
    "text": lambda seed: f"text {seed}",
    "texts": lambda seed: ["the same", f"text {seed}"],
}


class Any(nn.Module):
    """Takes whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, batch: object, *, more: object = None) -> Tensor:
        assert batch is not more
        return self.weight * 2


def hashes(
    store: Path, batches: Iterator[tuple[tuple[object, ...], dict[str, object]]]
) -> list[object]:
    """`batch_hash` of a recorded training with these arguments of forwards."""
    model = Any()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with opened(model, optimizer, store) as telemetry:
        for args, kwargs in batches:
            model(*args, **kwargs).backward()
            optimizer.step()
    return column(telemetry, "batch_hash")


@pytest.mark.filterwarnings("ignore:.*(sparse|quantize|prototype|nested).*")
@pytest.mark.parametrize("kind", BATCHES)
def test_equal_batches_have_equal_hashes_and_others_do_not(kind: str, tmp_path: Path) -> None:
    make = BATCHES[kind]
    once, again, other, as_keyword = hashes(
        tmp_path,
        iter(
            [
                ((make(1),), {}),
                ((make(1),), {}),
                ((make(3),), {}),
                ((None,), {"more": make(1)}),
            ]
        ),
    )
    assert once is not None
    assert once == again == as_keyword
    assert once != other


def test_numbers_and_nothing_have_no_hash(tmp_path: Path) -> None:
    assert hashes(tmp_path, iter([((3,), {"more": [1.0, 2]}), ((b"bytes",), {})])) == [None, None]


def test_an_empty_batch_has_the_hash_of_its_shape() -> None:
    hasher = BatchHasher()
    assert int(hasher(torch.zeros(0, 3))) == int(hasher(torch.zeros(0, 3)))
    assert int(hasher(torch.zeros(0, 3))) != int(hasher(torch.zeros(0, 4)))
    assert int(hasher(np.zeros((0, 3)))) != int(hasher(np.zeros((0, 4))))


def test_an_array_of_objects_is_not_read() -> None:
    assert int(BatchHasher()(np.array([object()]))) == int(BatchHasher()(np.array([object()])))


def test_forwards_of_one_step_add_up(tmp_path: Path) -> None:
    model = Any()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with opened(model, optimizer, tmp_path) as telemetry:
        for batches in ((values(0), values(1)), (values(1), values(0)), (values(0), "text")):
            (model(batches[0]) + model(batches[1])).backward()
            optimizer.step()
    one, swapped, mixed = column(telemetry, "batch_hash")
    assert one == swapped != mixed
    total = int(BatchHasher()(values(0))) + int(BatchHasher()(values(1)))
    assert (int(str(one)) - total) % 2**64 == 0


def test_containers_are_entered_with_bounds() -> None:
    endless: list[object] = [torch.zeros(1)]
    endless.append(endless)
    assert len(list(leaves_in(endless))) == 8
    assert len(list(leaves_in(["a"] * 10_000))) == 4096
    assert list(leaves_in(range(10**9))) == []
    assert list(leaves_in(Example)) == []


def test_dataclasses_are_entered_in_the_order_of_their_fields() -> None:
    example = Example(torch.zeros(2), "name")
    assert list(leaves_in([example, 3])) == [example.tokens, "name"]
    assert list(tensors_in(example)) == [example.tokens]


@pytest.mark.filterwarnings("ignore:.*(nested|Sparse).*")
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: Example(torch.zeros(6, 2)), 6),
        (lambda: Encoding(x=torch.zeros(7, 2)), 7),
        (lambda: np.zeros((5, 2)), 5),
        (lambda: np.array(1.0), 0),
        (lambda: ["one", "two", "three"], 3),
        (lambda: "one text", 0),
        (lambda: {"text": "one", "x": torch.zeros(8)}, 8),
        (lambda: pack_padded_sequence(torch.zeros(4, 3, 2), torch.tensor([4, 2, 1])), 3),
        (lambda: torch.nested.nested_tensor([torch.zeros(3, 2), torch.zeros(1, 2)]), 2),
        (lambda: nested(0), 2),
        (lambda: torch.zeros(4, 3).to_sparse(), 4),
    ],
)
def test_samples_of_a_batch(make: Callable[[], object], size: int) -> None:
    batch = make()
    assert batch_size((batch,), {}) == size
    assert batch_size((), {"more": [None, batch]}) == size
