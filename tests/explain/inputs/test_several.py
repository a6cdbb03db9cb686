"""Models of several inputs: joined for what changes inputs, and taken apart for the model."""

from typing import ClassVar

import pytest
import torch
from padded_texts import PAD, Encoder, Texts, trained
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain.attribution.input_attribution import attribute
from telemetry.explain.evaluation.evaluation import evaluate

pytestmark = pytest.mark.torch


class Cases:
    """A picture that says nothing, a row of which `ward` decides, and a number of a kind."""

    classes = ("well", "ill")
    feature_names: ClassVar = {"row": ["age", "ward"]}

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.pictures = torch.rand(24, 1, 4, 4, generator=generator)
        self.rows = torch.randn(24, 2, generator=generator)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int]:
        parts = {"picture": self.pictures[index], "row": self.rows[index]}
        ward = float(self.rows[index, 1])
        label = int(ward > 0) if index else int(ward <= 0)  # the first one is spoiled
        return {**parts, "kind": torch.tensor([index % 3])}, label


class TwoHeads(nn.Module):
    def forward(self, *, row: Tensor, picture: Tensor, kind: Tensor) -> Tensor:
        assert picture.shape[1:] == (1, 4, 4)
        assert kind.dtype is torch.int64
        score = 4 * row[:, 1] + 0.1 * picture.mean((1, 2, 3)) + 0.01 * kind[:, 0]
        return torch.stack([-score, score], dim=1)


class Pairs(Cases):
    """The same as a tuple of two tensors of fractions."""

    feature_names: ClassVar = {"1": ["age", "ward"]}

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, Tensor], int]:  # type: ignore[override]
        parts, label = super().__getitem__(index)
        return (parts["picture"], parts["row"]), label


class Both(nn.Module):
    def forward(self, picture: Tensor, row: Tensor) -> Tensor:
        score = 4 * row[:, 1] + 0.1 * picture.mean((1, 2, 3))
        return torch.stack([-score, score], dim=1)


def test_the_input_that_decides_is_found_by_its_name() -> None:
    subject = explain.load(TwoHeads(), dataset=Cases())
    assert evaluate(subject).accuracy == 23 / 24
    for method in ("occlusion", "kernelshap"):
        found = attribute(subject, "0", "wrong", method=method, check=False)
        assert found.top(1)[0].segment == "row ward"
    assert found.segments.names[0] == "picture r0c0"
    assert found.segments.names[-1] == "kind 0"


def test_fractions_have_gradients_and_whole_numbers_none() -> None:
    found = attribute(explain.load(Both(), dataset=Pairs()), "0", "wrong")
    assert found.top(1)[0].segment == "1 ward"
    assert found.ok
    with pytest.raises(UsageError, match=r"the input kind contains integers.*occlusion or lime"):
        attribute(explain.load(TwoHeads(), dataset=Cases()), "0", "wrong")


def test_the_least_change_is_that_of_one_part() -> None:
    found = explain.reduce(explain.load(TwoHeads(), dataset=Cases()), "0")
    assert found.repair is not None
    (edit,) = found.differences.edits(found.repair.items)
    assert edit.name == "mean of row ward"


def test_inputs_of_other_shapes_are_refused() -> None:
    class Torn(Cases):
        def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int]:
            parts, label = super().__getitem__(index)
            return parts | ({"row": torch.ones(3)} if index == 2 else {}), label

    with pytest.raises(UsageError, match=r"item 2: row has shape \(3,\), and that of the first"):
        evaluate(explain.load(TwoHeads(), dataset=Torn()))


class Tokenized(Texts):
    """What a tokenizer gives: tokens and the mask that follows from them."""

    kinds = 0

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int]:  # type: ignore[override]
        row, label = super().__getitem__(index)
        mask, kinds = (row != PAD).long(), torch.full_like(row, self.kinds)
        return {"attention_mask": mask, "input_ids": row, "token_type_ids": kinds}, label


class Masked(nn.Module):
    """A model that is told which tokens are padding, and checks that."""

    def __init__(self, inner: Encoder) -> None:
        super().__init__()
        self.inner = inner

    def forward(
        self, *, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> Tensor:
        assert torch.equal(attention_mask, (input_ids != PAD).long())
        assert not token_type_ids.any()
        logits: Tensor = self.inner(input_ids)
        return logits


def test_a_tokenized_text_is_changed_with_its_mask() -> None:
    data = Tokenized(40, 2, (1.0, 1.0))
    subject = explain.load(Masked(trained()), dataset=data)
    wrong = str(data.labels.tolist().index(0))
    words = attribute(subject, wrong, "wrong", method="occlusion", check=False).top(1)[0].segment
    assert words.partition(":")[2] in {"per", "our"}
    data.kinds = 1
    with pytest.raises(UsageError, match="token_type_ids does not follow from input_ids"):
        attribute(subject, wrong, "wrong")
