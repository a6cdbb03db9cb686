import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.nn import functional

from telemetry import ExplainSpec, TelemetryCallback
from telemetry.errors import CaptureError
from telemetry.format.manifest import read_manifest
from telemetry.format.ownership import doubt
from telemetry.requests.models import EXPLAIN_KEY

pytestmark = pytest.mark.torch


def rows_of(path: Path) -> list[dict[str, object]]:
    shards = sorted((path / "example_evals" / "rank=0").glob("*.parquet"))
    tables = [pq.read_table(shard, partitioning=None) for shard in shards]
    return [row for table in tables for row in table.to_pylist()]


def test_answers_are_rows_of_the_step_at_which_they_were_logged(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs, labels = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1])
    expected: dict[int, list[float]] = {}
    with TelemetryCallback(model, optimizer, store=tmp_path, strict=True) as telemetry:
        for step in range(4):
            loss = functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if step % 2:
                with torch.no_grad():
                    outputs = model(inputs)
                losses = functional.cross_entropy(outputs, labels, reduction="none")
                expected[step] = losses.tolist()
                for part in (slice(0, 4), slice(4, 6)):
                    telemetry.log_examples(
                        outputs[part],
                        labels[part],
                        classes=["cat", "dog"],
                        metadata=[{"place": i} for i in range(6)][part],
                    )
                outputs.zero_()  # what the loop does afterwards is its own business
        path = telemetry.path
    assert path is not None
    rows = rows_of(path)
    assert len(rows) == 12
    for step in (1, 3):
        found = sorted((r for r in rows if r["step"] == step), key=lambda r: str(r["example_id"]))
        assert [r["example_id"] for r in found] == list("012345")
        assert [r["loss"] for r in found] == pytest.approx(expected[step], rel=1e-5)
        assert [r["label"] for r in found] == ["cat", "dog"] * 3
        assert {r["checkpoint"] for r in found} == {f"live:{step}"}
        assert len({r["eval_id"] for r in found}) == 1
        assert found[5]["metadata"] == '{"place": "5"}'


def test_examples_are_told_apart_by_names_or_by_their_inputs(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    with TelemetryCallback(model, None, store=tmp_path, strict=True) as telemetry:
        telemetry.step(loss=1.0)
        inputs = torch.randn(2, 3)
        telemetry.log_examples(model(inputs), [0, 1], ids=["a", "b"], dataset="named")
        telemetry.log_examples(model(inputs), None, inputs=inputs, dataset="seen")
        path = telemetry.path
    assert path is not None
    rows = {(str(r["dataset"]), str(r["example_id"])): r for r in rows_of(path)}
    assert ("named", "a") in rows
    seen = [r for (dataset, _), r in rows.items() if dataset == "seen"]
    assert [r["example_id"] for r in seen] == [r["input_digest"] for r in seen]
    assert seen[0]["correct"] is None
    assert seen[0]["loss"] is None


def test_one_number_an_example_is_a_regression_unless_the_labels_are_two_classes(
    tmp_path: Path,
) -> None:
    model = nn.Linear(3, 1)
    with TelemetryCallback(model, None, store=tmp_path, strict=True) as telemetry:
        telemetry.step(loss=1.0)
        outputs = torch.tensor([[2.0], [-1.0]])
        telemetry.log_examples(outputs, torch.tensor([1.5, -1.0]), dataset="numbers")
        telemetry.log_examples(outputs, torch.tensor([1, 1]), dataset="classes")
        path = telemetry.path
    assert path is not None
    rows = {(r["dataset"], r["example_id"]): r for r in rows_of(path)}
    assert rows["numbers", "0"]["loss"] == pytest.approx(0.25)
    assert rows["numbers", "1"]["predicted_value"] == -1.0
    assert rows["classes", "0"]["loss"] == pytest.approx(math.log(1 + math.exp(-2)))
    assert rows["classes", "1"]["correct"] is False


@pytest.mark.parametrize(
    ("ends_in_sigmoid", "logged", "confidence"),
    [
        (True, [0.1, 0.9, 0.4], [0.9, 0.9, 0.6]),
        (False, [0.1, 0.9, 0.4], [0.5250, 0.7109, 0.5987]),  # of logits: 1 / (1 + exp(-x))
        (True, [0.1, 2.0, 0.4], [0.5250, 0.8808, 0.5987]),  # the loss was never given a 2
    ],
)
def test_the_loss_of_the_training_says_whether_one_output_is_a_probability(
    tmp_path: Path, logged: list[float], confidence: list[float], *, ends_in_sigmoid: bool
) -> None:
    model = nn.Sequential(nn.Linear(3, 1), *([nn.Sigmoid()] if ends_in_sigmoid else []))
    criterion = nn.BCELoss() if ends_in_sigmoid else nn.BCEWithLogitsLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with TelemetryCallback(model, optimizer, store=tmp_path, strict=True) as telemetry:
        loss = criterion(model(torch.ones(2, 3))[:, 0], torch.tensor([0.0, 1.0]))
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
        telemetry.log_examples(torch.tensor(logged), [0, 1, 0])
        path = telemetry.path
    assert path is not None
    rows = rows_of(path)
    assert [row["confidence"] for row in rows] == pytest.approx(confidence, abs=1e-4)
    is_right = [p < 0.5 for p in logged] if confidence[0] == 0.9 else [False] * 3
    assert [row["correct"] for row in rows] == [is_right[0], True, is_right[2]]


def test_a_data_set_of_numbers_stays_one_where_a_batch_has_zeros_and_ones_alone(
    tmp_path: Path,
) -> None:
    with TelemetryCallback(nn.Linear(3, 1), None, store=tmp_path, strict=True) as telemetry:
        telemetry.step(loss=1.0)
        for labels in ([3.0, 1.0], [0.0, 1.0]):
            telemetry.log_examples(torch.tensor([2.0, 2.0]), labels, dataset="counts")
        telemetry.log_examples(torch.tensor([2.0, 2.0]), [0.0, 1.0], dataset="clicks")
        path = telemetry.path
    assert path is not None
    rows = rows_of(path)
    assert [r["target_value"] for r in rows if r["dataset"] == "counts"] == [3.0, 1.0, 0.0, 1.0]
    assert [r["correct"] for r in rows if r["dataset"] == "clicks"] == [False, True]


def test_what_does_not_belong_together_ends_the_part_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Linear(3, 2)
    with TelemetryCallback(model, None, store=tmp_path) as telemetry:
        telemetry.step(loss=1.0)
        telemetry.log_examples(torch.zeros(2, 2), [0, 1, 1])
        telemetry.log_examples(torch.zeros(2, 2), [0, 1])
        telemetry.step(loss=0.5)
        path = telemetry.path
    assert path is not None
    assert rows_of(path) == []
    assert "examples failed" in caplog.text
    assert read_manifest(path).summary["steps"] == 2
    strict = TelemetryCallback(model, None, store=tmp_path, strict=True)
    with strict, pytest.raises(CaptureError, match="labels are 3, the outputs 2"):
        strict.log_examples(torch.zeros(2, 2), [0, 1, 1])


def test_how_a_model_is_built_again_stands_in_the_manifest(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    spec = ExplainSpec(model="shop:build", model_args={"width": 3}, checkpoint="ckpt/*.pt")
    with TelemetryCallback(model, None, store=tmp_path, explain=spec) as telemetry:
        path = telemetry.path
    assert path is not None
    manifest = read_manifest(path)
    assert doubt(manifest.run, manifest.project, manifest.extra) is None  # this user says so
    assert manifest.extra[EXPLAIN_KEY] == {
        "model": "shop:build",
        "model_args": {"width": 3},
        "checkpoint": "ckpt/*.pt",
    }
    with pytest.raises(TypeError, match=r"expected a telemetry\.ExplainSpec"):
        TelemetryCallback(model, None, store=tmp_path, explain="shop:build")  # type: ignore[arg-type]
