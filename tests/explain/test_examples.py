import numpy as np
import pytest
import torch
from explainable import Rows

from telemetry.capture.answers import input_digest
from telemetry.errors import UsageError
from telemetry.explain.examples import ExampleSet, Modality

pytestmark = pytest.mark.torch


class Listed:
    """A data set of given items, with further attributes."""

    def __init__(self, items: list[object], **attributes: object) -> None:
        self.items = items
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        return self.items[index]


def test_an_example_has_identity_label_and_metadata() -> None:
    examples = ExampleSet(Rows(), "rows")
    first = examples.example(0)
    assert first.id == first.digest == input_digest(Rows().inputs[0])
    assert first.label in {0, 1}
    assert first.metadata == {"half": 0, "even": True}
    assert examples.classes == ("low", "high")


def test_identity_survives_another_order() -> None:
    rows = Rows()
    there = {e.id: e.label for e in ExampleSet(rows, "rows").examples()}
    rows.inputs, rows.labels = rows.inputs.flip(0), rows.labels.flip(0)
    assert {e.id: e.label for e in ExampleSet(rows, "rows").examples()} == there


def test_the_digest_tells_shape_type_and_bytes_apart() -> None:
    values = torch.zeros(4)
    digests = {
        input_digest(v)
        for v in (values, values.reshape(2, 2), values.double(), values.int(), values + 1)
    }
    assert len(digests) == 5
    assert input_digest(torch.zeros(2, 2).T) == input_digest(torch.zeros(2, 2))


def test_equal_inputs_are_numbered_and_own_ids_must_differ() -> None:
    same = torch.ones(3)
    ids = [e.id for e in ExampleSet(Listed([(same, 0), (same, 1), (same, 0)]), "d").examples()]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]
    named = Listed([(same, 0), (same, 1)], example_id=lambda _index: "x")
    with pytest.raises(UsageError, match=r"example_id\(1\) is 'x'"):
        list(ExampleSet(named, "d").examples())


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        (torch.ones(3), "is a Tensor, expected"),
        ((torch.ones(3),), r"expected \(input, label\)"),
        (("text", 1), "expected numbers"),
        ((torch.tensor([1.0, float("nan")]), 1), "1 values of item 0 are not finite"),
        ((torch.ones(3), None), "the label of item 0 is a NoneType"),
        ((torch.ones(3), float("inf")), "finite number"),
        ((torch.ones(3), 1, ["a"]), "metadata of item 0 is a list"),
        ((torch.full((3,), 9.0), 1), "outside value_range 0 to 1"),
    ],
)
def test_what_is_no_example_is_refused(item: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ExampleSet(Listed([item], value_range=(0, 1)), "d").example(0)


def test_what_is_no_data_set_is_refused() -> None:
    with pytest.raises(UsageError, match="is a generator, expected __len__"):
        ExampleSet((i for i in range(3)), "d")
    with pytest.raises(UsageError, match="data set d is empty"):
        ExampleSet([], "d")
    broken = ExampleSet(Listed([(torch.ones(1), 1)], classes="ab"), "d")
    with pytest.raises(UsageError, match="classes is no list"):
        _ = broken.classes


@pytest.mark.parametrize(
    ("value", "modality"),
    [
        (torch.zeros(3, 8, 8), Modality.IMAGE),
        (torch.zeros(5), Modality.TABULAR),
        (torch.zeros(5, 8, 8), Modality.TABULAR),
        (torch.zeros(5, dtype=torch.long), Modality.TEXT),
        (np.zeros((1, 4, 4), dtype=np.float32), Modality.IMAGE),
    ],
)
def test_the_modality_is_told_by_the_input_or_stated(value: object, modality: Modality) -> None:
    assert ExampleSet(Listed([(value, 0)]), "d").modality is modality
    assert ExampleSet(Listed([(value, 0)], modality="text"), "d").modality is Modality.TEXT


def test_the_range_of_values_is_stated_or_seen() -> None:
    seen = ExampleSet(Listed([(torch.tensor([0.5, 2.0]), 0), (torch.tensor([-1.0, 0]), 0)]), "d")
    assert seen.value_range == (-1.0, 2.0)
    stated = ExampleSet(Listed([(torch.tensor([0.5]), 0)], value_range=(0, 255)), "d")
    assert stated.value_range == (0.0, 255.0)


def test_examples_are_found_by_id_or_place() -> None:
    examples = ExampleSet(Rows(), "rows")
    third = examples.example(3)
    assert examples.find(third.id).index == 3
    assert examples.find("3").id == third.id
    with pytest.raises(UsageError, match="has no example '99'"):
        examples.find("99")
