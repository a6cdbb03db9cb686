import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from explainable import Numbers, Rows, build_sum
from torch import Tensor, nn
from torch.nn import functional

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain.evaluation.evaluation import write_evaluation

pytestmark = pytest.mark.torch


def columns_of(row: Tensor) -> dict[str, str]:
    return {str(place): f"{value:.7g}" for place, value in enumerate(row.tolist())}


def test_each_example_gets_its_answer_loss_and_confidence() -> None:
    rows = Rows()
    found = explain.evaluate(explain.load(build_sum(), dataset=rows), batch=5)
    assert len(found.rows) == 12
    assert found.accuracy == pytest.approx(10 / 12)  # two labels are spoiled
    assert [row["correct"] for row in found.rows[:3]] == [False, False, True]
    z = float(rows.inputs[4].sum())
    p = 1 / (1 + math.exp(-z))
    row = found.rows[4]
    assert row["label"] == ("high" if z > 0 else "low")
    assert row["prediction"] == row["label"]
    assert row["confidence"] == pytest.approx(max(p, 1 - p), rel=1e-5)
    assert row["loss"] == pytest.approx(-math.log(max(p, 1 - p)), rel=1e-4)
    assert row["margin"] == pytest.approx(abs(z), rel=1e-5)
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert row["entropy"] == pytest.approx(entropy, rel=1e-4)
    assert json.loads(str(row["metadata"])) == {
        "half": "0",
        "even": "true",
        **columns_of(rows.inputs[4]),
    }


def test_the_same_question_twice_is_one_evaluation_and_other_batches_change_nothing() -> None:
    model, rows = build_sum(), Rows()
    first = explain.evaluate(explain.load(model, dataset=rows), batch=5)
    again = explain.evaluate(explain.load(model, dataset=rows), batch=12)
    assert first.id == again.id
    assert explain.evaluate(explain.load(model, dataset=rows), limit=6).id != first.id
    rows.labels[5] = 1 - rows.labels[5]
    assert explain.evaluate(explain.load(model, dataset=rows)).id != first.id


def test_one_output_an_example_is_two_classes_or_a_number() -> None:
    class Total(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1, keepdim=True)

    classes = explain.evaluate(explain.load(Total(), dataset=Rows()))
    assert classes.accuracy == pytest.approx(10 / 12)
    numbers = explain.evaluate(explain.load(Total(), dataset=Numbers()))
    assert numbers.accuracy is None
    assert numbers.loss == pytest.approx(0.0, abs=1e-10)
    assert numbers.rows[0]["predicted_value"] == pytest.approx(numbers.rows[0]["target_value"])


def test_probabilities_are_recognised_and_not_taken_for_logits() -> None:
    model = nn.Sequential(build_sum(), nn.Softmax(dim=1))
    there = explain.evaluate(explain.load(model, dataset=Rows()))
    logits = explain.evaluate(explain.load(build_sum(), dataset=Rows()))
    assert there.are_probabilities
    assert not logits.are_probabilities
    for a, b in zip(there.rows, logits.rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        assert a["confidence"] == pytest.approx(b["confidence"], rel=1e-4)


def test_confident_errors_and_the_worst_come_first() -> None:
    rows = Rows()
    rows.inputs[0] *= 100 / rows.inputs[0].sum().abs()
    found = explain.evaluate(explain.load(build_sum(), dataset=rows))
    assert found.confident_errors()[0]["example_id"] == found.rows[0]["example_id"]
    assert found.worst(2)[0]["example_id"] == found.rows[0]["example_id"]


def test_labels_that_are_no_class_of_the_model_are_refused() -> None:
    rows = Rows()
    rows.labels[7] = 2
    with pytest.raises(UsageError, match="has the label 2; the model has the classes low, high"):
        explain.evaluate(explain.load(build_sum(), dataset=rows))
    rows.classes = ()  # type: ignore[assignment]
    rows.labels = ["low"] * 12  # type: ignore[assignment]
    with pytest.raises(UsageError, match="the classes 0 to 1; list them in this order in"):
        explain.evaluate(explain.load(build_sum(), dataset=rows))
    wide = nn.Linear(4, 3)
    with pytest.raises(UsageError, match="names 2 classes, but the model has 3"):
        explain.evaluate(explain.load(wide, dataset=Rows()))
    with pytest.raises(UsageError, match="no examples were given"):
        explain.evaluate(explain.load(wide))


class Probable(nn.Module):
    """The probability that the sum of a row is positive, in one of several spellings."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.spelling = spelling

    def forward(self, x: Tensor) -> Tensor:
        logit = x.sum(1, keepdim=True)
        spellings: dict[str, Callable[[], Tensor]] = {
            "module": lambda: nn.Sigmoid()(logit),
            "squeezed": lambda: torch.sigmoid(logit).squeeze(1).double(),
            "in place": lambda: logit.clone().sigmoid_(),
            "rescaled": lambda: torch.sigmoid(logit).mul_(6).sub_(3),
            "gate": lambda: torch.sigmoid(logit) * 0 + logit,
        }
        return spellings[self.spelling]()


@pytest.mark.parametrize("spelling", ["module", "squeezed", "in place"])
def test_one_probability_an_example_is_recognised_where_the_model_ends_in_a_sigmoid(
    spelling: str,
) -> None:
    class Floats(Rows):
        """Labels as binary cross-entropy wants them."""

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Mapping[str, object]]:
            row, label, metadata = super().__getitem__(index)
            return row, label.float(), metadata

    found = explain.evaluate(explain.load(Probable(spelling), dataset=Floats()))
    logits = explain.evaluate(explain.load(build_sum(), dataset=Rows()))
    assert found.are_probabilities
    for a, b in zip(found.rows, logits.rows, strict=True):
        assert (a["label"], a["prediction"]) == (b["label"], b["prediction"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


@pytest.mark.parametrize("spelling", ["rescaled", "gate"])
def test_a_sigmoid_inside_makes_no_probabilities(spelling: str) -> None:
    found = explain.evaluate(explain.load(Probable(spelling), dataset=Rows()))
    assert not found.are_probabilities
    assert found.accuracy == pytest.approx(10 / 12)


def test_a_regression_is_one_whatever_its_first_target() -> None:
    class Counts(Numbers):
        """Sums of which the first are 1 and 0."""

        def __getitem__(self, index: int) -> tuple[Tensor, float]:  # type: ignore[override]
            row, total = super().__getitem__(index)
            return row, float([1, 0][index]) if index < 2 else float(total)

    class Total(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1)

    subject = explain.load(Total(), dataset=Counts())
    assert explain.evaluate(subject, batch=1).accuracy is None
    assert explain.attribute(subject, "0", "pred").score.kind == "value"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inputs_are_taken_to_the_type_of_the_model(dtype: torch.dtype) -> None:
    class Doubles(Rows):
        def __getitem__(self, index: int) -> object:  # type: ignore[override]
            row, label, _ = super().__getitem__(index)
            return row.double().numpy(), label

    found = explain.evaluate(explain.load(build_sum().to(dtype), dataset=Doubles()))
    assert found.accuracy == pytest.approx(10 / 12)


class Last(nn.Module):
    """Knows a text by its last token: padding would hide it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x[:, -1])


class Texts:
    """Texts of two lengths."""

    pad_id = 0

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.arange(1, 3 + index % 2), index % 2


def test_texts_of_other_lengths_are_answered_as_each_alone_is() -> None:
    torch.manual_seed(0)
    subject = explain.load(Last(), dataset=Texts())
    found = explain.evaluate(subject)
    single = explain.evaluate(subject, batch=1)
    for together, alone in zip(found.rows, single.rows, strict=True):
        assert together["example_id"] == alone["example_id"]
        assert together["margin"] == pytest.approx(alone["margin"])


def test_rows_are_kept_once_and_every_evaluation_in_a_shard_of_its_own(tmp_path: Path) -> None:
    first = explain.evaluate(explain.load(build_sum(), dataset=Rows()))
    second = explain.evaluate(explain.load(build_sum(), dataset=Rows()), limit=6)
    assert write_evaluation(tmp_path, first)
    assert not write_evaluation(tmp_path, first)
    assert write_evaluation(tmp_path, second)
    names = sorted(path.name for path in (tmp_path / "example_evals" / "rank=0").glob("*.parquet"))
    assert [name[:25] for name in names] == [f"{n:012d}-{n:012d}" for n in (1, 2)]
    shards = (tmp_path / "example_evals" / "rank=0").glob("*.parquet")
    assert sum(pq.read_table(path, partitioning=None).num_rows for path in shards) == 18


class Variants(Rows):
    """Three variants of each of four originals."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Mapping[str, object]]:
        row, label, metadata = super().__getitem__(index)
        return row, label, {**metadata, "source_id": index // 3}


def test_variants_of_one_original_are_known_as_such() -> None:
    subject = explain.load(build_sum(), dataset=Variants())
    found = explain.evaluate(subject)
    assert [row["source_id"] for row in found.rows] == [str(i // 3) for i in range(12)]
    assert "source_id" not in str(found.rows[0]["metadata"])
    assert explain.evaluate(explain.load(build_sum(), dataset=Rows())).rows[0]["source_id"] is None


class Spoiled(nn.Module):
    """Answers NaN where the first number of a row is positive."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum(1)
        masked = torch.full_like(total, -torch.inf)
        answers = torch.stack([torch.zeros_like(total), total, masked], 1)
        return answers.where(x[:, :1] <= 0, torch.nan)


def test_answers_of_nan_name_no_class_and_are_wrong() -> None:
    class Wide(Rows):
        classes = ()

    rows = Wide()
    found = explain.evaluate(explain.load(Spoiled(), dataset=rows))
    lost = (rows.inputs[:, 0] > 0).tolist()
    assert 0 < found.n_not_finite == sum(lost) < 12
    for is_lost, row in zip(lost, found.rows, strict=True):
        assert (row["prediction"] is None) == (row["topk"] is None) == is_lost
        assert not (is_lost and row["correct"])
    assert math.isnan(found.loss or 0.0)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_model_that_draws_numbers_is_told(share: float) -> None:
    class Forgotten(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            kept = functional.dropout(x, share)  # whatever the mode
            return torch.stack([-kept.sum(1), kept.sum(1)], 1)

    subject = explain.load(Forgotten(), dataset=Rows())
    assert explain.evaluate(subject).is_random == (share > 0)
    checks = explain.attribute(subject, "3", "pred", check=False).checks
    assert next(c.ok for c in checks if c.name == "determinism") == (share == 0)
