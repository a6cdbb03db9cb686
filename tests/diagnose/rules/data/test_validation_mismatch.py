"""validation_mismatch, on a regression that is trained and on synthetic evaluations."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from judged_runs import Chain, Chains, diagnosed, learning
from torch import Tensor, nn

from telemetry import TelemetryCallback
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Diagnosis, Severity
from telemetry.store.store import Store

pytestmark = pytest.mark.torch


def trained(
    store: Path, *, scale: float = 1.0, shuffled: bool = False, times: float = 1.0, every: int = 25
) -> Diagnosis:
    """Fits a line; `times` is the unit of the logged validation loss."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(8, 1, generator=generator)

    def batch(n: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(n, 8, generator=generator)
        return x, x @ weights

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    val_x, val_y = batch(128)
    val_x, val_y = scale * val_x, val_y.roll(1, 0) if shuffled else val_y
    with TelemetryCallback(model, optimizer, store=store, overhead_budget=None) as telemetry:
        for step in range(1, 151):
            x, y = batch(32)
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if step % every == 0:
                with torch.no_grad():
                    val_loss = nn.functional.mse_loss(model(val_x), val_y)
                telemetry.log(val_loss=times * float(val_loss))
    opened = Store.open(store)
    return diagnose_run(opened, opened.runs()[0])


def found(diagnosis: Diagnosis) -> list[Severity]:
    return [f.severity for f in diagnosis.findings if f.detector == "validation_mismatch"]


def test_inputs_on_another_scale_or_labels_of_other_samples_warn(tmp_path: Path) -> None:
    assert found(trained(tmp_path / "scale", scale=12.0)) == [Severity.WARNING]
    assert found(trained(tmp_path / "labels", shuffled=True)) == [Severity.WARNING]


def test_a_validation_loss_that_falls_passes_in_any_unit(tmp_path: Path) -> None:
    for times in (1.0, 128.0):
        diagnosis = trained(tmp_path / str(times), times=times)
        assert "validation_mismatch" in diagnosis.passed


def test_one_evaluation_is_not_enough(tmp_path: Path) -> None:
    diagnosis = trained(tmp_path, shuffled=True, every=150)
    reasons = {n.detector: n.reason for n in diagnosis.not_checked}
    assert "at least 2" in reasons["validation_mismatch"]


def classifier(run: Chain, *, end: float = 0.1, **evaluations: Sequence[float]) -> Chain:
    """A run over ten balanced classes, one label a sample, whose loss falls from ln 10."""
    for step, loss in enumerate(learning(120, end=end)):
        run.add("steps", step=step, loss=loss, lr=0.1, flags=int(step % 10 == 0), samples=64)
    run.logits(0).logits(5)
    for name, values in evaluations.items():
        run.metric(name, {20 * place: value for place, value in enumerate(values)})
    return run


RISING = [2.31, 2.33, 2.36, 2.41, 2.46]
WANDERING = [2.31, 2.36, 2.33, 2.46, 2.41]


@pytest.mark.parametrize(
    ("end", "evaluations", "is_told"),
    [
        (0.1, {"val_acc": [0.09, 0.12, 0.1]}, True),  # a metric alone
        (0.1, {"val_acc": [9.0, 12.0, 10.0]}, True),  # in per cent
        (0.1, {"val_acc": [0.12]}, True),  # once, at the end
        (0.1, {"val_acc": [0.12], "val_loss": [2.6]}, True),
        (0.1, {"val_acc": [0.12], "val_loss": [1.6]}, False),
        (0.1, {"val_loss": [2.6]}, False),
        (0.1, {"val_acc": [0.09, 0.12, 0.35]}, False),
        (1.9, {"val_acc": [0.09, 0.12, 0.1]}, False),  # little was learnt
        (0.1, {"val_r2": [-0.2, 0.02, -0.3]}, True),
        (0.1, {"val_r2": [-0.2, 0.02, 0.3]}, False),
        (0.1, {"val_f1": [0.0, 0.0, 0.0]}, False),  # what it scores by chance is not known
        (2.0, {"val_loss": RISING}, True),  # training gained little, and validation lost
        (2.0, {"val_loss": WANDERING}, False),
        (2.0, {"val_loss": RISING, "val_acc": [0.1, 0.2, 0.3, 0.3, 0.3]}, False),
        (0.1, {"val_loss": [2.29, 2.6, 5.0]}, True),  # as good as knowing nothing, once
        (0.1, {"val_loss": [2.2, 2.6, 5.0]}, False),
        (0.1, {"val_loss": [2.1962871, 2.1962871, 2.1962871]}, True),  # another model
        (0.1, {"val_loss": [2.1962871, 2.1962871]}, False),
        (0.1, {"val_loss": [0.15, 0.15, 0.15]}, False),  # rounded
    ],
)
def test_what_evaluations_of_a_classifier_say(
    chain: Chains, end: float, evaluations: dict[str, list[float]], *, is_told: bool
) -> None:
    diagnosis = diagnosed(classifier(chain(1), end=end, **evaluations))
    assert found(diagnosis) == ([Severity.WARNING] if is_told else [])


def test_an_accuracy_of_sequences_has_no_level(chain: Chains) -> None:
    run = classifier(chain(1), val_acc=[0.0, 0.0, 0.0])
    for step in range(5, 120, 10):  # some steps have more labels than samples
        counts = np.full(10, 64.0, dtype=np.float32).tobytes()
        run.activation(
            "", "target", step, n=640, sumsq=None, loss_op="cross_entropy", n_units=10,
            n_profile=10, profile=counts,
        )  # fmt: skip
    assert found(diagnosed(run)) == []
