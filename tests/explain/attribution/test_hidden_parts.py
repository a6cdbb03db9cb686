"""What hiding parts says: the answer that comes instead, parts that stand in for each other."""

import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.explain.attribution.input_attribution import attribute
from telemetry.explain.attribution.question import REMOVED

pytestmark = pytest.mark.torch

SIDE = 6
LEFT, RIGHT = (1, 1), (4, 4)  # pixels that are cells of their own


class Image:
    """One image with two marks."""

    classes = ("plain", "marked", "left")

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.full((1, SIDE, SIDE), 0.1)
        image[0, *LEFT] = image[0, *RIGHT] = 1.0
        return image, 1


class Either(nn.Module):
    """Marked where one of the marks is there."""

    def forward(self, x: Tensor) -> Tensor:
        score = torch.maximum(x[:, 0, *LEFT], x[:, 0, *RIGHT])
        return torch.stack([score * 0 + 0.5, score, score * 0], dim=1)


class Both(nn.Module):
    """Marked by the sum; without the right mark the answer is `left`."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[:, 0, *LEFT], x[:, 0, *RIGHT]
        return torch.stack([left * 0, left + right, left + 0.3], dim=1)


def occluded(model: nn.Module):  # noqa: ANN201 - a record of the product
    subject = explain.load(model, dataset=Image())
    return attribute(subject, "0", "pred", method="occlusion", baseline="zero", check=False)


def test_parts_that_stand_in_for_each_other_are_redundant_evidence() -> None:
    """Hiding either changes nothing, so that occlusion ranks neither."""
    found = occluded(Either())
    assert float(found.per_segment.max()) == 0
    (warning,) = [text for text in found.warnings if "redundant" in text]
    assert "r1c1" in warning
    assert "r4c4" in warning
    assert "--method kernelshap" in warning


def test_parts_that_add_up_are_not_redundant() -> None:
    assert not [text for text in occluded(Both()).warnings if "redundant" in text]


def test_the_answer_that_comes_instead_is_told() -> None:
    """Without the right mark 1.0 against 1.3; without the left 1.0 against 0.3."""
    found = occluded(Both())
    assert found.changed is not None
    assert [(one.segment, one.prediction, one.share) for one in found.changed] == [
        ("r4c4", "left", 1.0)
    ]


def test_other_methods_and_regressions_have_no_second_map() -> None:
    subject = explain.load(Both(), dataset=Image())
    found = attribute(subject, "0", "pred", baseline="zero", check=False)
    assert found.changed is None


class Texts:
    """Token 7 counts where it stands; 1 begins every text, 0 hides a token."""

    modality = "text"
    mask_id, special_ids = 0, (1,)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([1, 5, 7, 4]), 1


class Places(nn.Module):
    """The place of token 7, and whether the first token is there."""

    def forward(self, tokens: Tensor) -> Tensor:
        place = ((tokens == 7) * torch.arange(tokens.shape[1])).sum(1).float()
        first = (tokens[:, 0] == 1).float()
        return torch.stack([place * 0, place + 9 * first], dim=1)


def test_tokens_are_masked_and_taken_out() -> None:
    """Without the token before it, 7 moves one place to the left; masked, it does not."""
    subject = explain.load(Places(), dataset=Texts())
    found = attribute(subject, "0", "pred", method="occlusion", check=False)
    assert found.baselines == ("mask", REMOVED)
    by_baseline = found.found.by_baseline
    assert by_baseline["mask"].tolist() == [0.0, 2.0, 0.0]
    assert by_baseline[REMOVED].tolist() == [1.0, 2.0, 0.0]
    assert found.top(1)[0].by_baseline == {"mask": 2.0, REMOVED: 2.0}


def test_a_model_of_one_length_is_masked_alone_and_that_is_said() -> None:
    class OneLength(Places):
        def forward(self, tokens: Tensor) -> Tensor:
            if tokens.shape[1] != 4:
                raise ValueError("four tokens")
            return super().forward(tokens)

    subject = explain.load(OneLength(), dataset=Texts())
    found = attribute(subject, "0", "pred", method="occlusion", check=False)
    assert found.baselines == ("mask",)
    assert any("shorter text" in warning for warning in found.warnings)
