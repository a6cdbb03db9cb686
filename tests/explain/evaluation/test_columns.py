"""Columns of tables, images and texts: kept by an evaluation, found by slices, named by answers."""

import json
from pathlib import Path

import pytest
import torch
from padded_texts import Texts
from planted_table import People, trained
from synthetic import RunBuilder
from torch import Tensor, nn

from telemetry import Store, explain
from telemetry.errors import UsageError
from telemetry.evaluate.slicing import slices
from telemetry.explain.attribution.input_answers import rows_of, sentence
from telemetry.explain.evaluation.evaluation import evaluate, write_evaluation
from telemetry.explain.inputs.columns import Given

pytestmark = pytest.mark.torch


def columns_of(subject: explain.Subject) -> list[dict[str, str]]:
    return [json.loads(str(row["metadata"])) for row in evaluate(subject).rows]


def test_a_group_that_training_never_saw_is_found_without_metadata(tmp_path: Path) -> None:
    run = RunBuilder(store=tmp_path, run="20260102-030405-people").losses([1.0]).write()
    data = People(2000, 2)
    write_evaluation(run, evaluate(explain.load(trained(), dataset=data)))
    store = Store.open(tmp_path)
    # The label and the age say the same: of the old, these alone are "no".
    search = slices.Search(by=People.columns)
    found = slices.find(store, slices.SlicedRun(run=store.select("latest")), search)
    assert found.slices
    assert {name for name, _ in found.slices[0].conditions} == {"m_age", "m_region"}
    assert "north" in found.slices[0].title
    assert found.slices[0].value > 0.3
    measured = slices.measure(
        store, slices.SlicedRun(run=store.select("latest")), "m_region = 'north' AND m_age > 62"
    )
    assert measured.slices[0].n == int(data.unseen.sum())


def test_a_leaking_column_is_named_with_its_value_and_what_is_usual() -> None:
    data = People(600, 2, leaks=True)
    subject = explain.load(trained(leaks=True), dataset=data)
    with torch.no_grad():
        wrong = (subject.model(data.rows).argmax(1) != data.labels).nonzero().flatten().tolist()
    found = [explain.attribute(subject, str(index), "wrong", check=False) for index in wrong[:20]]
    firsts = [one.top(1)[0] for one in found]
    assert sum(first.segment == "code" for first in firsts) >= 19
    for one, index in zip(found, wrong, strict=False):
        (code,) = (part for part in one.top(10) if part.segment == "code")
        label = float(data.labels[index])
        assert code.given is not None
        assert (code.given.value, code.given.unit) == (1 - label, None)
        assert code.given.reference == pytest.approx(label, abs=0.2)
        assert f"code = {1 - label:.4g} (reference " in sentence(one)
        (age,) = (part for part in one.top(10) if part.segment == "age")
        assert age.given is not None
        assert age.given.unit == "years"
        assert age.given.value == pytest.approx(float(50 + 15 * data.rows[index, 0]), rel=1e-5)
    (row,) = rows_of(found[0], {})
    kept = json.loads(str(row["segment_columns"]))
    assert [Given(**entry) for entry in kept] == list(found[0].given)


def test_columns_are_kept_as_people_know_them() -> None:
    data = People(5, 3)
    found = columns_of(explain.load(trained(), dataset=data))
    assert [*found[0]] == [*People.columns]
    assert all(row["region"] in {"north", "south", "west"} for row in found)
    assert float(found[0]["age"]) == pytest.approx(float(50 + 15 * data.rows[0, 0]), rel=1e-5)
    assert {row["code"] for row in found} <= {"0", "1"}


def test_a_unit_of_no_column_is_refused() -> None:
    data = People(5, 3)
    data.units = {"height": "cm"}  # type: ignore[misc]
    with pytest.raises(UsageError, match="units names 'height', which is not a column"):
        explain.attribute(explain.load(trained(), dataset=data), "0", "pred", check=False)


def test_what_the_data_set_says_counts_before_what_is_measured() -> None:
    class Images:
        value_range = (0.0, 255.0)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Tensor, int, dict[str, str]]:
            return torch.full((3, 4, 4), 51.0 * (1 + index)), index, {"contrast": "high"}

    subject = explain.load(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), dataset=Images())
    first, second = columns_of(subject)
    assert (first["brightness"], second["brightness"]) == ("0.2", "0.4")
    assert first["contrast"] == "high"


def test_the_length_of_a_text_is_that_of_its_words() -> None:
    class Constant(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            return torch.zeros(len(tokens), 2)

    data = Texts(4, 2, (0.0, 0.0))
    found = columns_of(explain.load(Constant(), dataset=data))
    assert [row["length"] for row in found] == [str(int((row > 3).sum())) for row in data.rows]


def test_texts_have_a_script_and_rare_words() -> None:
    class Constant(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            return torch.zeros(len(tokens), 2)

    class Notes:
        modality = "text"
        words = ("good", "дом", "хорошо", "odd")
        texts = ([0, 0], [1, 2], [0, 3, 3, 0], [1, 2], [0], [0], [0], [0], [1], [1], [1], [1])

        def __len__(self) -> int:
            return len(self.texts)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.tensor(self.texts[index]), index % 2

        def tokens(self, row: Tensor) -> list[str]:
            return [self.words[token] for token in row.tolist()]

    found = columns_of(explain.load(Constant(), dataset=Notes()))
    assert [row["script"] for row in found[:3]] == ["latin", "cyrillic", "latin"]
    assert [row["rare words"] for row in found[:3]] == ["0", "0.5", "0.5"]


def test_images_of_several_sizes_have_a_height_and_a_width() -> None:
    class Pictures:
        value_range = (0.0, 1.0)
        sizes = ((4, 4), (6, 5))

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.rand(3, *self.sizes[index]), index

    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    first, second = columns_of(explain.load(model, dataset=Pictures()))
    assert (first["height"], second["height"], second["width"]) == ("4", "6", "5")
