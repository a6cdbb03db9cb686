"""Samples that were trained on and evaluated are told as sets of hashes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from loops import records
from sampled_sets import Evaluate, hashes, of_phase, samples, train
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from telemetry import TelemetryCallback
from telemetry.capture.data.sample_hash import SampleHasher, distinct_values
from telemetry.capture.data.sketches import Sketch
from telemetry.format.sketch_size import SKETCH_SIZE

TRAINED, OTHER = samples(60, 1), samples(30, 2)


def ends_with(inputs: Tensor, *names: str) -> Evaluate:
    def evaluate(model: nn.Module, telemetry: TelemetryCallback) -> None:
        with torch.no_grad():
            for batch in inputs.split(16):
                model(batch)
        telemetry.log(**dict.fromkeys(names, 1.0))

    return evaluate


def test_the_samples_of_training_and_evaluation_are_told(tmp_path: Path) -> None:
    mixed = torch.cat([OTHER, TRAINED[:7]])
    rows = train(tmp_path, TRAINED, ends_with(mixed, "val_loss"))
    trained, evaluated = of_phase(rows, "train")[-1], of_phase(rows, "eval")
    assert trained["n_seen"] == 4 * 60
    assert len(hashes(trained)) == 60
    assert set(np.frombuffer(trained["times"], "<i4")) == {4}
    assert [row["step"] for row in evaluated] == [5, 11, 23], "the first, second and fourth"
    for row in evaluated:
        assert row["n_seen"] == 37
        assert len(hashes(row) & hashes(trained)) == 7
        assert row["distinct_values"] == 12
        assert sorted(np.frombuffer(row["forwards"], "<i4")) == [0] * 16 + [1] * 16 + [2] * 5


def test_pairs_of_equal_samples_within_forwards_are_counted(tmp_path: Path) -> None:
    twice = torch.cat([OTHER[:5], OTHER[:5]])
    rows = train(tmp_path, twice, ends_with(twice[:4], "val_loss"), epochs=2)
    trained = of_phase(rows, "train")[-1]
    assert (trained["n_pairs"], trained["n_equal_pairs"]) == (2 * 45, 2 * 5)


@pytest.mark.parametrize(
    ("names", "phase"),
    [
        (("val_loss", "val_accuracy"), "eval"),
        (("train_loss", "val_loss"), "both"),
        (("accuracy/val",), "eval"),
        (("constrained_loss", "testAccuracy"), "eval"),
        (("loss/val", "loss/train"), "both"),
        (("train_loss",), None),
        (("value_loss", "device"), None),
        (("accuracy",), None),
    ],
)
def test_the_metrics_logged_say_what_an_evaluation_was(
    tmp_path: Path, names: tuple[str, ...], phase: str | None
) -> None:
    rows = train(tmp_path, TRAINED, ends_with(OTHER, *names), epochs=1)
    assert {row["phase"] for row in rows} == {"train", phase} - {None}


def test_an_evaluation_in_inference_mode_and_in_a_block_is_told(tmp_path: Path) -> None:
    def evaluate(model: nn.Module, telemetry: TelemetryCallback) -> None:
        with telemetry.evaluation(), torch.inference_mode():
            model(OTHER)
        telemetry.log(val_loss=1.0)

    rows = train(tmp_path, TRAINED, evaluate, epochs=1)
    (row,) = of_phase(rows, "eval")
    assert row["n_seen"] == 30


def nothing(model: nn.Module, telemetry: TelemetryCallback) -> None:
    del model, telemetry


def with_gradient(model: nn.Module, telemetry: TelemetryCallback) -> None:
    model(OTHER)
    telemetry.log(val_loss=1.0)


def in_evaluation_mode(model: nn.Module, telemetry: TelemetryCallback) -> None:
    model.eval()
    with_gradient(model, telemetry)
    model.train()


def not_logged(model: nn.Module, telemetry: TelemetryCallback) -> None:
    with torch.no_grad():
        model(OTHER)
    del telemetry


def test_an_evaluation_in_evaluation_mode_may_have_forgotten_no_grad(tmp_path: Path) -> None:
    rows = train(tmp_path, TRAINED, in_evaluation_mode)
    expected = train(tmp_path / "alone", TRAINED, nothing)
    assert of_phase(rows, "eval")
    assert hashes(of_phase(rows, "train")[-1]) == hashes(of_phase(expected, "train")[-1])


@pytest.mark.parametrize("evaluate", [nothing, with_gradient, not_logged])
def test_only_what_had_a_backward_pass_was_trained_on(tmp_path: Path, evaluate: Evaluate) -> None:
    rows = train(tmp_path, TRAINED, evaluate)
    expected = train(tmp_path / "alone", TRAINED, nothing)
    assert {row["phase"] for row in rows} == {"train"}
    assert hashes(of_phase(rows, "train")[-1]) == hashes(of_phase(expected, "train")[-1])


def test_steps_of_very_many_forwards_keep_nothing(tmp_path: Path) -> None:
    model = nn.Linear(12, 2)
    with TelemetryCallback(
        model, torch.optim.SGD(model.parameters(), lr=0.1), store=tmp_path, strict=True
    ):
        for _ in range(600):
            model(TRAINED)
    (run,) = tmp_path.glob("project=*/run=*")
    assert records(run, "sketches") == []


def test_a_model_that_is_trained_in_evaluation_mode_tells_nothing(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(12, 2)).eval()
    assert train(tmp_path, TRAINED, nothing, model=model) == []


class OfNodes(nn.Module):
    """Calls itself with the nodes and the edges of a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 2)

    def forward(self, nodes: Tensor, edges: Tensor | None = None) -> Tensor:
        return self.head(nodes) if edges is None else self.head(nodes) + edges.sum()


def test_an_evaluation_of_which_a_part_cannot_be_hashed_is_not_told(tmp_path: Path) -> None:
    def evaluate(model: nn.Module, telemetry: TelemetryCallback) -> None:
        with torch.no_grad():
            model(OTHER)
            model(OTHER, torch.ones(2, 40))
        telemetry.log(val_loss=1.0)

    rows = train(tmp_path, TRAINED, evaluate, model=OfNodes())
    assert {row["phase"] for row in rows} == {"train"}


def test_a_sample_has_the_same_hash_in_every_batch() -> None:
    hasher, images = SampleHasher(), torch.randn(40, 3, 20, 20)
    all_of_them = hasher(((images,), {}))
    assert all_of_them is not None
    assert len(set(all_of_them.tolist())) == 40
    last_format = images[9:12].to(memory_format=torch.channels_last)
    for part in (images[9:12], images[9:12].clone(), images[torch.tensor([9, 10, 11])]):
        assert torch.equal(hasher(((part,), {})), all_of_them[9:12])
    assert hasher(((last_format,), {})) is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.uint8])
def test_samples_of_every_type_are_told_apart(dtype: torch.dtype) -> None:
    batch = torch.arange(64).reshape(4, 16).to(dtype)
    found = SampleHasher()(batch)
    assert found is not None
    assert len(set(found.tolist())) == 4


NO_SAMPLES: dict[str, Callable[[], object]] = {
    "few elements": lambda: torch.randn(9, 7),
    "nodes and edges": lambda: (torch.randn(9, 12), torch.ones(2, 30)),
    "text": lambda: ["one", "two"],
    "sparse": lambda: torch.eye(12).to_sparse(),
    "nested": lambda: torch.nested.nested_tensor(
        [torch.ones(9, 2), torch.ones(8, 2)], layout=torch.jagged
    ),
    "meta": lambda: torch.empty(9, 12, device="meta"),
    "too many at once": lambda: torch.zeros(20_000, 256),
    "nothing": lambda: torch.zeros(0, 12),
    "scalar": lambda: torch.tensor(3.0),
}


@pytest.mark.parametrize("kind", NO_SAMPLES)
def test_what_is_no_row_of_samples_is_not_hashed(kind: str) -> None:
    assert SampleHasher()(NO_SAMPLES[kind]()) is None
    assert distinct_values(NO_SAMPLES[kind]()) is None


def test_distinct_values_are_those_of_a_sample() -> None:
    batch = torch.arange(24.0).reshape(2, 12)
    batch[1] = batch[1] > 18
    found = distinct_values(((batch,), {"shift": torch.tensor(1.0)}))
    assert found is not None
    assert found.tolist() == [12, 2]


class NoReading(TorchDispatchMode):
    """Fails on operations that bring a value of a tensor to the host."""

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: tuple[type, ...],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        del types
        assert "_local_scalar_dense" not in str(func)
        assert "nonzero" not in str(func)
        return func(*args, **(kwargs or {}))


def test_hashing_reads_no_value_off_a_tensor() -> None:
    with NoReading():
        assert SampleHasher()((OTHER, {"mask": OTHER > 0})) is not None
        assert distinct_values(OTHER) is not None


def test_a_sketch_holds_the_smallest_hashes_of_all_that_it_was_given() -> None:
    generator = np.random.default_rng(0)
    whole = generator.integers(-(2**62), 2**62, 3 * SKETCH_SIZE)
    once, piecewise = Sketch(), Sketch()
    once.add([whole])
    for part in np.split(whole, 8):
        piecewise.add([part, part[:10]])
    one, other = (sketch.row(phase="train", step=0) for sketch in (once, piecewise))
    assert one["hashes"] == other["hashes"]
    kept = np.frombuffer(one["hashes"], "<u8")  # type: ignore[call-overload]
    assert kept.size == SKETCH_SIZE
    assert (np.diff(kept) > 0).all()
    assert 0.3 < float(kept[-1]) / 2**64 < 0.37, "hashes are uniform"


def test_codes_of_samples_that_lie_close_are_told(tmp_path: Path) -> None:
    near = TRAINED[:7] + 0.001
    rows = train(tmp_path, TRAINED, ends_with(torch.cat([OTHER, near]), "val_loss"))
    trained, evaluated = of_phase(rows, "train")[-1], of_phase(rows, "eval")[-1]
    known, given = (
        {bytes(code) for code in np.frombuffer(row["codes"], "S16")}  # type: ignore[call-overload]
        for row in (trained, evaluated)
    )
    assert (len(known), len(given)) == (60, 37)
    assert len(known & given) >= 5
    assert not hashes(trained) & hashes(evaluated)
