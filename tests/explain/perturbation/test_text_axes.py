"""Axes of texts against sentences whose answer hangs on one word."""

import json
from pathlib import Path

import pytest
import torch
from texts import VOCABULARY, Mood, Sentences
from torch import Tensor

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain import perturb, perturb_all
from telemetry.explain.hypotheses.transforms import transform_of
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.perturbation.axes import axis_of
from telemetry.requests.explain.perturb import PerturbSettings

pytestmark = pytest.mark.torch


@pytest.fixture
def subject() -> explain.Subject:
    return explain.load(Mood(), dataset=Sentences())


def words_at(name: str, index: int, share: float) -> list[str]:
    examples = ExampleSet(Sentences(), "sentences")
    changed, clipped = axis_of(name, examples).apply(examples.example(index), share)
    assert clipped == 0
    return Sentences().tokens(changed)


def test_a_word_in_another_case_is_unknown_and_padding_stays() -> None:
    assert words_at("case", 0, 1.0) == [*["<unk>"] * 4, "<pad>", "<pad>"]
    assert words_at("typo", 3, 1.0) == [*["<unk>"] * 4, "<pad>", "<pad>"]


def test_synonyms_are_those_of_the_data_set_or_of_a_file(tmp_path: Path) -> None:
    assert words_at("synonym", 0, 1.0)[:4] == ["the", "movie", "is", "nice"]
    (tmp_path / "table.json").write_text(json.dumps({"good": "very very nice"}), "utf-8")
    name = f"synonym:{tmp_path / 'table.json'}"
    assert words_at(name, 0, 1.0) == ["the", "film", "is", "very", "very", "nice"]


def test_the_threshold_is_where_the_word_that_decides_is_changed(subject: explain.Subject) -> None:
    found = perturb(subject, "0", "case")
    assert found.threshold is not None
    assert 0 < found.threshold <= 0.5  # one letter of `good` among 13
    assert found.monotone
    axis = axis_of("case", ExampleSet(Sentences(), "sentences"))
    changed, _ = axis.apply(ExampleSet(Sentences(), "s").example(0), found.threshold)
    assert VOCABULARY.index("good") not in changed.tolist()
    assert perturb(subject, "0", "synonym").threshold is None


def test_a_set_has_a_curve_and_says_where_there_was_nothing_to_change(
    subject: explain.Subject, tmp_path: Path
) -> None:
    (tmp_path / "table.json").write_text('{"very": "not"}', "utf-8")
    found = perturb_all(subject, f"synonym:{tmp_path / 'table.json'}")
    assert found.threshold is None
    assert "has nothing to change in 4 examples" in found.warnings[-1]
    assert perturb_all(subject, "typo", PerturbSettings(steps=3)).at(1.0).accuracy == pytest.approx(
        0.4
    )


def test_a_hypothesis_takes_the_same_names(tmp_path: Path) -> None:
    path = tmp_path / "synonyms.json"
    path.write_text('{"good": ["nice"]}', "utf-8")
    examples = ExampleSet(Sentences(), "sentences")
    for name, word in (("case:+1", "<unk>"), (f"synonym:{path}:1", "nice")):
        changed = transform_of(name, examples)(examples.example(0))
        assert Sentences().tokens(changed.input)[3] == word
        assert changed.id == examples.example(0).id


class Mute(Sentences):
    encode = None  # type: ignore[assignment]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return Sentences()[index]


class Forgetful(Sentences):
    def encode(self, words: list[str]) -> Tensor:
        return super().encode(words[1:])

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return Sentences()[index]


class Wrong(Mute):
    def encode(self, words: list[str]) -> Tensor:
        return torch.zeros(1, len(words))


@pytest.mark.parametrize(
    ("source", "axis", "complaint"),
    [
        (Mute(), "case", "--axis case needs words: add encode to data set s"),
        (Forgetful(), "typo", r"encode\(tokens\(x\)\) is not x for 'the film is good"),
        (Wrong(), "typo", r"returns torch.float32 of shape \(1, 6\)"),
        (Sentences(), "case:x", "write --axis case"),
        (Sentences(), "synonym:absent.json", "cannot be read as JSON"),
        (Sentences(), "brightness", "are not images"),
    ],
)
def test_what_cannot_be_is_refused(source: object, axis: str, complaint: str) -> None:
    examples = ExampleSet(source, "s")
    with pytest.raises(UsageError, match=complaint):
        axis_of(axis, examples).apply(examples.example(0), 0.5)


def test_no_table_and_a_range_beyond_all_are_refused() -> None:
    class Plain(Sentences):
        synonyms = None  # type: ignore[assignment]

    with pytest.raises(UsageError, match="no synonyms are known"):
        axis_of("synonym", ExampleSet(Plain(), "s"))
    with pytest.raises(UsageError, match="is a share from 0 to 1"):
        axis_of("typo", ExampleSet(Plain(), "s"), span=(0.0, 2.0))
