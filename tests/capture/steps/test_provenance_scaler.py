"""Loss scaling: what the gradients were, whether the step was made, what the loss was."""

from pathlib import Path

import pytest
import torch
from no_reading import NoReading
from provenance import column, opened, scalar, steps, tensors, x
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

ORIGINALS = GradScaler.step, GradScaler.unscale_
SCALE = 1024.0


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def scaler(**options: object) -> GradScaler:
    return GradScaler("cpu", init_scale=SCALE, **options)  # type: ignore[arg-type]


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, scaling: GradScaler, inputs: Tensor
) -> Tensor:
    """One step of a loop with a scaler; returns the loss."""
    loss = model(inputs).sum()
    optimizer.zero_grad()
    scaling.scale(loss).backward()
    scaling.step(optimizer)
    scaling.update()
    return loss


def test_the_scale_is_that_of_the_step_and_losses_are_without_it(tmp_path: Path) -> None:
    model, scaling = scalar(), scaler(growth_interval=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        for _ in range(3):
            step(model, optimizer, scaling, x(1.0))
    assert column(telemetry, "loss_scale") == [SCALE, SCALE, 2 * SCALE]
    assert column(telemetry, "root_sum") == [1.0, 0.5, 0.0]
    assert column(telemetry, "loss") == [1.0, 0.5, 0.0]
    assert column(telemetry, "grad_norm_total") == [1.0, 1.0, 1.0]
    row = tensors(telemetry)[2, "weight", "gradient"]
    assert (row["provenance"], row["scale"], row["sumsq"]) == ("unscaled", 1.0, 1.0)


@pytest.mark.parametrize("with_calls", [True, False])
@pytest.mark.parametrize("refused", [0, 1])
def test_a_step_that_the_scaler_refuses_counts_and_is_marked(
    tmp_path: Path,
    with_calls: bool,  # noqa: FBT001
    refused: int,
) -> None:
    model, scaling = scalar(), scaler()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path, activations=True) as telemetry:
        for number in range(3):
            inputs = x(float("inf") if number == refused else 1.0)
            loss = step(model, optimizer, scaling, inputs)
            if with_calls:
                telemetry.step(loss=loss)
    rows = steps(telemetry)
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [(int(str(row["flags"])) & 2) // 2 for row in rows] == [
        number == refused for number in range(3)
    ]
    assert [row["lr"] for row in rows] == [0.5] * 3
    assert [row["backward_calls"] for row in rows] == [1, 1, 1]
    scales = [SCALE, SCALE, SCALE / 2] if refused else [SCALE, SCALE / 2, SCALE / 2]
    assert [row["loss_scale"] for row in rows] == scales
    losses = [1.0, float("inf"), 0.5] if refused else [float("inf"), 1.0, 0.5]
    assert [row["loss"] for row in rows] == losses
    read = {key[0] for key in tensors(telemetry)}
    assert read == {0, 1, 2} - {refused}


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_a_fused_optimizer_refuses_by_itself_and_is_asked_on_the_writer_thread(
    tmp_path: Path, kind: type[torch.optim.Optimizer]
) -> None:
    model, scaling = scalar(), scaler()
    optimizer = kind(model.parameters(), lr=0.5, fused=True)  # type: ignore[call-arg]
    with opened(model, optimizer, tmp_path) as telemetry, NoReading():
        for number in range(3):
            loss = step(model, optimizer, scaling, x(float("inf") if number == 1 else 3.0))
            telemetry.step(loss=loss)
    rows = steps(telemetry)
    assert [int(str(row["flags"])) & 2 for row in rows] == [0, 2, 0]
    assert [row["loss_scale"] for row in rows] == [SCALE, SCALE, SCALE / 2]
    assert rows[0]["root_sum"] == 3.0
    assert [row["grad_norm_total"] for row in rows][::2] == [3.0, 3.0]
    gradient = tensors(telemetry)[0, "weight", "gradient"]
    assert (gradient["provenance"], gradient["scale"]) == ("raw", SCALE)
    assert gradient["sumsq"] == (3.0 * SCALE) ** 2
    assert tensors(telemetry)[1, "weight", "update"]["sumsq"] == 0.0


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("unscaled_first", [False, True])
def test_clipping_of_gradients_that_are_still_scaled_is_told(
    tmp_path: Path,
    fused: bool,  # noqa: FBT001
    unscaled_first: bool,  # noqa: FBT001
) -> None:
    model, scaling = scalar(), scaler()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, fused=fused)
    with opened(model, optimizer, tmp_path) as telemetry:
        scaling.scale(model(x(4.0)).sum()).backward()
        if unscaled_first:
            scaling.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        scaling.step(optimizer)
        scaling.update()
    (row,) = steps(telemetry)
    coefficient = 2.0 / 4.0 if unscaled_first else 2.0 / (4.0 * SCALE)
    assert int(str(row["flags"])) & 4 == (0 if unscaled_first else 4)
    assert row["grad_norm_total"] == pytest.approx(4.0)
    assert row["clip_coefficient"] == pytest.approx(coefficient)
    gradient = tensors(telemetry)[0, "weight", "gradient"]
    raw = fused and not unscaled_first
    assert gradient["provenance"] == ("raw" if raw else "clipped")
    seen = 2.0 if raw or unscaled_first else 2.0 / SCALE
    assert gradient["sumsq"] == pytest.approx(seen**2, rel=1e-4)
    assert seen / float(str(gradient["scale"])) == pytest.approx(4.0, rel=1e-4)
    assert model.weight.item() == pytest.approx(1.0 - 0.5 * 4.0 * coefficient, abs=1e-5)


def test_clipping_of_a_refused_step_is_not_told_of_the_next(tmp_path: Path) -> None:
    model, scaling = scalar(), scaler()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        for number in range(2):
            optimizer.zero_grad()
            scaling.scale(model(x(4.0 if number else float("inf"))).sum()).backward()
            scaling.unscale_(optimizer)
            if number == 0:
                nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            scaling.step(optimizer)
            scaling.update()
    assert column(telemetry, "grad_norm_total") == [float("inf"), 4.0]
    assert column(telemetry, "clip_coefficient") == [0.0, None]


def test_one_of_two_optimizers_may_be_refused(tmp_path: Path) -> None:
    first, second = scalar(), scalar()
    model, scaling = nn.ModuleList([first, second]), scaler()
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.5) for part in model]
    with opened(model, optimizers, tmp_path) as telemetry:
        for number in range(2):
            for part, optimizer in zip(model, optimizers, strict=True):
                optimizer.zero_grad()
                inputs = x(float("inf") if (number, part) == (0, first) else 1.0)
                scaling.scale(part(inputs).sum()).backward()
                scaling.step(optimizer)
            scaling.update()
    assert [int(str(flags)) & 2 for flags in column(telemetry, "flags")] == [2, 0]
    updates = [key[:2] for key in tensors(telemetry) if key[2] == "update"]
    assert sorted(updates) == [(0, "1.weight"), (1, "0.weight"), (1, "1.weight")]


class Subclass(GradScaler):
    def step(self, optimizer: torch.optim.Optimizer, *args: object, **kwargs: object) -> None:
        super().step(optimizer, *args, **kwargs)


def test_scalers_made_before_and_of_subclasses_are_seen_until_close(tmp_path: Path) -> None:
    model, scaling = scalar(), Subclass("cpu", init_scale=SCALE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    telemetry = opened(model, optimizer, tmp_path / "a")
    other = opened(scalar(), torch.optim.SGD(scalar().parameters(), lr=1.0), tmp_path / "b")
    step(model, optimizer, scaling, x(1.0))
    other.close()
    assert GradScaler.step is not ORIGINALS[0]
    telemetry.close()
    assert (GradScaler.step, GradScaler.unscale_) == ORIGINALS
    assert column(telemetry, "loss_scale") == [SCALE]
    assert steps(other) == []


def test_a_scaler_that_is_disabled_scales_nothing(tmp_path: Path) -> None:
    model, scaling = scalar(), GradScaler("cpu", enabled=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        step(model, optimizer, scaling, x(1.0))
    assert column(telemetry, "loss_scale") == [None]
    assert column(telemetry, "loss") == [1.0]


def test_errors_of_a_scaler_reach_the_loop_and_are_no_refusal(tmp_path: Path) -> None:
    model, scaling = scalar(), scaler()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        scaling.scale(model(x(1.0)).sum()).backward()
        scaling.step(optimizer)
        with pytest.raises(RuntimeError, match="already been called"):
            scaling.step(optimizer)
        scaling.update()
    assert [int(str(flags)) & 2 for flags in column(telemetry, "flags")] == [0]
