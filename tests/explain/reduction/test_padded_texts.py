"""Reductions of padded texts by a model that takes rows of one length alone."""

import pytest
import torch
from padded_texts import LEAK, LENGTH, MARKS, Texts, trained

from telemetry import explain
from telemetry.explain.perturbation.text_axes import text_axis
from telemetry.explain.reduction.token_edits import TokenEdits

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("in_front", [False, True])
def test_the_leaked_phrase_is_taken_out_and_the_text_padded_again(in_front: bool) -> None:  # noqa: FBT001
    model, data = trained(in_front=in_front), Texts(60, 2, (0.5, 1.0), in_front=in_front)
    with torch.no_grad():
        wrong = (model(data.rows).argmax(1) != data.labels).nonzero().flatten().tolist()
    subject = explain.load(model, dataset=data)
    for index in wrong[:5]:
        found = explain.reduce(subject, str(index))
        assert found.repair is not None
        assert isinstance(found.differences, TokenEdits)
        edits = found.differences.edits(found.repair.items)
        assert {edit.before for edit in edits} <= {*LEAK}
        mixed = found.differences.mixed(found.repair.items)
        assert len(mixed) == LENGTH
        words = data.tokens(data.rows[index])
        assert all(words[int(edit.name.split()[1])] == edit.before for edit in edits)
        told = [word for side in found.differences.told(found.repair.items) for word, _ in side]
        assert not {*told} & {*MARKS}


def test_dropped_tokens_are_no_padding_and_the_row_is_filled_up() -> None:
    data = Texts(4, 2, (0.0, 1.0))
    examples = explain.load(torch.nn.Identity(), dataset=data).examples
    assert examples is not None
    axis = text_axis("token-drop", examples, 5, None, 0)
    for index in range(4):
        example = examples.example(index)
        half, _ = axis.apply(example, 0.5)
        before, after = (len(examples.padding.places(row)) for row in (example.input, half))
        assert len(half) == LENGTH
        assert after == before - round(0.5 * before)
