"""Rows of tokens: what is text, and how another text is filled up to the same length."""

import pytest
import torch
from torch import Tensor

from telemetry.explain.inputs.padding import Padding

pytestmark = pytest.mark.torch

PAD, CLS, SEP = 0, 1, 2
ROWS = [torch.tensor([CLS, 7, 8, SEP, PAD, PAD]), torch.tensor([CLS, 5, 6, 7, 8, SEP])]


def padding(rows: list[Tensor] = ROWS, pad: int | None = PAD) -> Padding:
    return Padding.of(rows, pad, frozenset({CLS, SEP}))


def test_a_row_is_taken_apart_and_put_together_again() -> None:
    found = padding()
    for row in ROWS:
        text = found.parted(row)
        assert (text.before, text.after) == ((CLS,), (SEP,))
        assert torch.equal(found.filled(text, text.core, row), row)
    assert found.is_text(ROWS[0]).tolist() == [False, True, True, False, False, False]


def test_a_text_stays_as_long_as_its_row_and_is_cut_where_it_is_longer() -> None:
    found = padding()
    text = found.parted(ROWS[0])
    assert found.filled(text, [7], ROWS[0]).tolist() == [CLS, 7, SEP, PAD, PAD, PAD]
    assert found.filled(text, [3, 4, 5, 6, 7, 8], ROWS[0]).tolist() == [CLS, 3, 4, 5, 6, SEP]


def test_padding_in_front_stays_in_front() -> None:
    rows = [torch.tensor([PAD, PAD, CLS, 7, 8]), torch.tensor([CLS, 5, 6, 7, 8])]
    found = padding(rows)
    assert found.without(rows[0], rows[0] == 7).tolist() == [PAD, PAD, PAD, CLS, 8]


@pytest.mark.parametrize("pad", [PAD, None])
def test_texts_of_any_length_are_not_filled_up(pad: int | None) -> None:
    rows = [torch.tensor([7, 8, 9]), torch.tensor([7, 8])]
    assert padding(rows, pad).without(rows[0], rows[0] == 8).tolist() == [7, 9]


def test_special_tokens_inside_a_text_are_kept_where_they_are() -> None:
    row = torch.tensor([CLS, 7, SEP, 8, SEP, PAD])
    text = padding([row]).parted(row)
    assert text.core == (7, SEP, 8)
    assert padding([row]).is_text(row).tolist() == [False, True, False, True, False, False]
