import numpy as np
import pytest
import torch
from explainable import Rows
from PIL import Image

from telemetry.capture.tensors.predictions import input_digest
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import ExampleSet, Modality

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
        ((torch.tensor([1.0, float("nan")]), 1), r"item 0 has values that are not finite \(1 of 2"),
        ((torch.ones(3), None), "the label of item 0 is None, expected a class"),
        ((torch.ones(3), float("inf")), "finite number"),
        ((torch.ones(3), 1, ["a"]), "third part of item 0 is a list, expected a dictionary"),
        ((torch.ones(3), torch.ones(3), 1), "third part of item 0 is an int.*combine two inputs"),
        (
            ((torch.ones(3), "words"), 1),
            "is a tuple.*return one tensor, and use a --model that",
        ),
        ((Image.new("RGB", (2, 2)), 1), "is an Image.*channels x height x width"),
        ((torch.ones(3), ["a", "b"]), "is a list of 2 values, expected one"),
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
    with pytest.raises(UsageError, match="classes is not a list"):
        _ = broken.classes


@pytest.mark.parametrize(
    ("value", "modality"),
    [
        (torch.zeros(3, 8, 8), Modality.IMAGE),
        (torch.zeros(5), Modality.TABULAR),
        (torch.zeros(5, 8, 8), Modality.TABULAR),
        (torch.zeros(5, dtype=torch.long), Modality.TEXT),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), Modality.IMAGE),
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


class Normalised(Listed):
    """One image of three channels from 0 to 1, normalised by a mean and deviation of each."""

    mean = (0.5, 0.4, 0.3)
    std = (0.5, 0.25, 0.1)

    def __init__(self, value: float, **attributes: object) -> None:
        image = torch.full((3, 2, 2), value)
        per_channel = [torch.tensor(part)[:, None, None] for part in (self.mean, self.std)]
        super().__init__([((image - per_channel[0]) / per_channel[1], 0)], **attributes)


def test_the_range_is_that_before_normalisation() -> None:
    examples = ExampleSet(Normalised(1.0, value_range=(0, 1)), "d")
    assert examples.example(0).input.max() == pytest.approx(7.0)
    low, high = ExampleSet(Normalised(0.25), "d").value_range
    assert (low, high) == pytest.approx((0.25, 0.25))
    with pytest.raises(UsageError, match=r"from 1\.5 to 1\.5 before normalisation, outside"):
        ExampleSet(Normalised(1.5, value_range=(0, 1)), "d").example(0)


def test_normalisation_that_does_not_fit_is_refused() -> None:
    examples = ExampleSet(Normalised(1.0, value_range=(0, 1), std=(1.0, 2.0)), "d")
    with pytest.raises(UsageError, match="std has 2 numbers, expected one, or 3"):
        examples.example(0)
    with pytest.raises(UsageError, match="value_range is 'wide', expected"):
        _ = ExampleSet(Listed([(torch.ones(1), 0)], value_range="wide"), "d").stated_range


def test_a_subset_says_what_the_whole_says() -> None:
    whole = Listed(
        [(torch.full((2,), float(i)), i % 2) for i in range(4)],
        classes={"even": 0, "odd": 1},
        feature_names=np.array(["a", "b"]),
        example_id="row {}".format,
    )
    part = torch.utils.data.Subset(torch.utils.data.Subset(whole, [3, 2, 1]), [0, 2])  # type: ignore[arg-type]
    examples = ExampleSet(part, "part")
    assert [example.id for example in examples.examples()] == ["row 3", "row 1"]
    assert examples.classes == ("even", "odd")
    assert examples.element_names(torch.zeros(2)) == ["a", "b"]


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        ({"label": 2, "image": 1}, r"is a dictionary of label, image.*item..image..,"),
        ((torch.ones(3), torch.tensor([0.0, 1, 0])), "is one-hot .3 numbers.*return its argmax"),
        ((torch.ones(3), np.array([1, 0, 1])), r"is a ndarray of 3 values.*label\[k\]"),
    ],
)
def test_items_of_other_libraries_are_refused_with_the_remedy(item: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ExampleSet(Listed([item]), "d").example(0)


def test_a_loader_or_a_stream_is_refused_with_the_remedy() -> None:
    rows = torch.utils.data.TensorDataset(torch.ones(2, 3), torch.tensor([0, 1]))
    with pytest.raises(UsageError, match=r"is a DataLoader.*pass its data set, without batches"):
        ExampleSet(torch.utils.data.DataLoader(rows), "d")
    with pytest.raises(UsageError, match=r"is a generator.*pass a list of its items"):
        ExampleSet((i for i in range(3)), "d")
    assert ExampleSet(rows, "d").example(1).label == 1


class Counted:
    """Ten rows that count how often they are read."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.reads.append(index)
        return torch.tensor([float(index)]), 0


class Named(Counted):
    """The same with ids."""

    def example_id(self, index: int) -> str:
        return f"row{index}"


def test_stated_ids_are_found_without_reading_inputs() -> None:
    source = Named()
    found = ExampleSet(source, "named").find_all(["row7", "3", "row2"])
    assert [example.index for example in found] == [7, 3, 2]
    assert source.reads == [7, 3, 2]


def test_several_digests_are_found_in_one_pass() -> None:
    source = Counted()
    examples = ExampleSet(source, "counted")
    ids = [examples.example(index).id for index in (1, 4)]
    source.reads.clear()
    assert [example.index for example in examples.find_all(list(reversed(ids)))] == [4, 1]
    assert source.reads == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("source", [Counted(), Named()])
def test_digests_of_logged_inputs_are_found_whatever_the_ids_and_the_type(source: Counted) -> None:
    """`log_examples(inputs=x)` sees what the model does: 32 bits, and no ids of the data set."""

    class Wide(type(source)):  # type: ignore[misc]
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            values, label = super().__getitem__(index)
            return values.double(), label

    for examples in (ExampleSet(source, "logged"), ExampleSet(Wide(), "wide")):
        logged = [input_digest(torch.tensor([float(index)])) for index in (4, 1)]
        assert [example.index for example in examples.find_all(logged)] == [4, 1]
        with pytest.raises(UsageError, match=r"were changed, for example by augmentation, .* ids="):
            examples.find("0123456789abcdef")


def test_a_place_is_read_alone() -> None:
    source = Counted()
    assert ExampleSet(source, "counted").find("8").index == 8
    assert source.reads == [8]
