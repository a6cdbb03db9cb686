"""Backward passes: which ones count, and optimizers that step while one runs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from provenance import column, opened, scalar, steps, tensors, x
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from telemetry import TelemetryCallback


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


class Checkpointed(nn.Module):
    """Two weights, 2 and 3, each recomputed in the backward pass."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first = scalar(2.0)
        self.second = scalar(3.0)
        self._reentrant = reentrant

    def forward(self, inputs: Tensor) -> Tensor:
        inner = checkpoint(self.first, inputs, use_reentrant=self._reentrant)
        output: Tensor = checkpoint(self.second, inner, use_reentrant=self._reentrant)
        return output


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_inside_the_model_change_no_number(
    tmp_path: Path,
    reentrant: bool,  # noqa: FBT001
) -> None:
    model = Checkpointed(reentrant=reentrant)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with opened(model, optimizer, tmp_path, activations=True) as telemetry:
        for _ in range(2):
            optimizer.zero_grad()
            model(x(1.0, 4.0).requires_grad_()).sum().backward()
            optimizer.step()
    for row in steps(telemetry):
        assert (row["backward_calls"], row["accumulation"], row["samples"]) == (1, 1, 2)
        assert row["root_sum"] == 30.0
    assert tensors(telemetry)[1, "first.weight", "gradient"]["sum"] == 15.0
    assert tensors(telemetry)[1, "second.weight", "gradient"]["sum"] == 10.0


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_around_the_model_is_one_training_forward(
    tmp_path: Path,
    reentrant: bool,  # noqa: FBT001
) -> None:
    hashes = []
    for around in (True, False):
        model = scalar(2.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        with opened(model, optimizer, tmp_path) as telemetry:
            inputs = x(1.0, 4.0).requires_grad_()
            output = checkpoint(model, inputs, use_reentrant=reentrant) if around else model(inputs)
            assert isinstance(output, Tensor)
            output.sum().backward()
            optimizer.step()
        (row,) = steps(telemetry)
        assert (row["backward_calls"], row["samples"]) == (1, 2)
        hashes.append(row["batch_hash"])
    assert hashes[0] == hashes[1] is not None


def test_a_backward_pass_of_a_hook_is_none_of_the_loop(tmp_path: Path) -> None:
    model = scalar(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def hook(gradient: Tensor) -> None:
        del gradient
        with torch.enable_grad():
            probe = torch.ones(1, requires_grad=True)
            (probe * 100).sum().backward()

    with opened(model, optimizer, tmp_path) as telemetry:
        output = model(x(2.0))
        output.register_hook(hook)
        output.sum().backward()
        optimizer.step()
    (row,) = steps(telemetry)
    assert (row["backward_calls"], row["root_sum"]) == (1, 2.0)


# --- optimizers that step inside the backward pass --------------------------------------------


def in_backward(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """One optimizer per parameter, which steps and clears when its gradient is complete."""
    optimizers: dict[Tensor, torch.optim.Optimizer] = {
        parameter: torch.optim.SGD([parameter], lr=lr) for parameter in model.parameters()
    }

    def step(parameter: Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(step)
    return list(optimizers.values())


def three() -> nn.ModuleList:
    return nn.ModuleList([scalar(1.0), scalar(2.0), scalar(3.0)])


@pytest.mark.parametrize("with_calls", [True, False])
def test_steps_inside_the_backward_pass_are_one_step_of_all_parameters(
    tmp_path: Path,
    with_calls: bool,  # noqa: FBT001
) -> None:
    model = nn.Sequential(*three())
    with opened(model, in_backward(model, 0.0), tmp_path, activations=True) as telemetry:
        for number in range(3):
            loss = model(x(float(number + 1))).sum()
            loss.backward()
            if with_calls:
                telemetry.step(loss=loss)
    rows = steps(telemetry)
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [row["root_sum"] for row in rows] == [6.0, 12.0, 18.0]
    assert [(row["backward_calls"], row["samples"]) for row in rows] == [(1, 1)] * 3
    # The gradient of a weight is the product of the others and the input.
    norm = (6.0**2 + 3.0**2 + 2.0**2) ** 0.5
    totals = [row["grad_norm_total"] for row in rows]
    assert totals == pytest.approx([norm, 2 * norm, 3 * norm])
    found = tensors(telemetry)
    for step in range(3):
        gradients = [found[step, f"{i}.weight", "gradient"]["sum"] for i in range(3)]
        assert gradients == [6.0 * (step + 1), 3.0 * (step + 1), 2.0 * (step + 1)]


def test_a_parameter_that_gets_no_gradient_does_not_shift_the_steps_of_the_others(
    tmp_path: Path,
) -> None:
    model = three()
    used = [(0, 1), (0, 1, 2), (1, 2), (0,)]
    with opened(model, in_backward(model, 0.0), tmp_path) as telemetry:
        for parts in used:
            torch.stack([model[part](x(1.0)).sum() for part in parts]).sum().backward()
    gradients = [key[:2] for key in tensors(telemetry) if key[2] == "gradient"]
    assert sorted(gradients) == [
        (step, f"{part}.weight") for step, parts in enumerate(used) for part in parts
    ]
    sums = [sum((1.0, 2.0, 3.0)[part] for part in parts) for parts in used]
    assert column(telemetry, "root_sum") == sums


# --- several optimizers and steps that are not made -------------------------------------------


def train(
    telemetry: TelemetryCallback, body: Callable[[int], None], n_steps: int, *, calls: bool
) -> None:
    for number in range(n_steps):
        body(number)
        if calls:
            telemetry.step()


@pytest.mark.parametrize("calls", [True, False])
def test_one_clipping_of_two_optimizers_is_told_of_both_and_counted_once(
    tmp_path: Path,
    calls: bool,  # noqa: FBT001
) -> None:
    model = nn.ModuleList([scalar(1.0), scalar(1.0)])
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.0) for part in model]

    def body(number: int) -> None:
        model.zero_grad()
        (model[0](x(3.0)).sum() + model[1](x(4.0)).sum()).backward()
        if number != 1:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()

    with opened(model, optimizers, tmp_path) as telemetry:
        train(telemetry, body, 3, calls=calls)
    assert column(telemetry, "step") == [0, 1, 2]
    assert column(telemetry, "grad_norm_total") == pytest.approx([5.0, 5.0, 5.0])
    assert column(telemetry, "clip_coefficient") == [
        pytest.approx(0.2, rel=1e-4),
        None,
        pytest.approx(0.2, rel=1e-4),
    ]
    found = tensors(telemetry)
    for name in ("0.weight", "1.weight"):
        scales = [found[step, name, "gradient"]["scale"] for step in range(3)]
        assert scales == pytest.approx([0.2, 1.0, 0.2], rel=1e-4)


def test_the_total_norm_is_that_of_all_gradients_even_where_a_part_is_clipped(
    tmp_path: Path,
) -> None:
    model = nn.ModuleList([scalar(1.0), scalar(1.0), scalar(1.0)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with opened(model, optimizer, tmp_path, every=2) as telemetry:
        for _ in range(2):
            model.zero_grad()
            (model[0](x(3.0)) + model[1](x(4.0)) + model[2](x(12.0))).sum().backward()
            nn.utils.clip_grad_norm_(model[0].parameters(), 1.0)
            nn.utils.clip_grad_norm_(model[1].parameters(), 1.0)
            optimizer.step()
    assert column(telemetry, "grad_norm_total") == [pytest.approx(13.0, rel=1e-4), None]
    assert column(telemetry, "clip_coefficient") == pytest.approx([0.25, 0.25], rel=1e-4)


def test_layers_clipped_one_by_one_have_a_total_norm_in_every_step(tmp_path: Path) -> None:
    model = nn.ModuleList([scalar(1.0), scalar(1.0)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with opened(model, optimizer, tmp_path, every=2) as telemetry:
        for _ in range(2):
            model.zero_grad()
            (model[0](x(3.0)) + model[1](x(4.0))).sum().backward()
            for part in model:
                nn.utils.clip_grad_norm_(part.parameters(), 1.0)
            optimizer.step()
    assert column(telemetry, "grad_norm_total") == pytest.approx([5.0, 5.0])


def test_a_critic_is_recorded_at_its_first_step_between_two_calls(tmp_path: Path) -> None:
    model = nn.ModuleList([scalar(1.0), scalar(1.0)])
    critic, generator = (torch.optim.SGD(part.parameters(), lr=0.0) for part in model)
    with opened(model, [critic, generator], tmp_path) as telemetry:
        for _ in range(2):
            for value in (3.0, 9.0):
                model.zero_grad()
                model[0](x(value)).sum().backward()
                nn.utils.clip_grad_norm_(model[0].parameters(), 1.0)
                critic.step()
            model[1](x(4.0)).sum().backward()
            nn.utils.clip_grad_norm_(model[1].parameters(), 1.0)
            generator.step()
            telemetry.step()
    assert column(telemetry, "backward_calls") == [3, 3]
    assert column(telemetry, "grad_norm_total")[-1] == pytest.approx(5.0)
    row = tensors(telemetry)[column(telemetry, "step")[-1], "0.weight", "gradient"]
    assert row["scale"] == pytest.approx(1 / 3, rel=1e-4)


def test_a_second_step_of_the_only_optimizer_is_a_step_of_its_own(tmp_path: Path) -> None:
    model = scalar(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        for _ in range(2):
            for _ in range(2):
                model.zero_grad()
                model(x(1.0)).sum().backward()
                optimizer.step()
            telemetry.step(loss=7.0)
    rows = steps(telemetry)
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert [row["root_sum"] for row in rows] == [1.0, 0.5, 0.0, -0.5]
    assert [row["loss"] for row in rows] == [1.0, 7.0, 0.0, 7.0]


def test_iterations_without_a_step_go_into_the_next_one(tmp_path: Path) -> None:
    model = scalar(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        for number in range(6):
            loss = model(x(1.0)).sum()
            if number % 2:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            telemetry.step(loss=loss)
    rows = steps(telemetry)
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [row["backward_calls"] for row in rows] == [1, 1, 1]
    assert [row["samples"] for row in rows] == [2, 2, 2]
    assert [row["loss"] for row in rows] == [1.0, 0.5, 0.0]


class Wrapped(torch.optim.Optimizer):
    """As Accelerate wraps: an optimizer by name, whose base class was never initialised."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> list[dict[str, object]]:  # type: ignore[override]
        return self.optimizer.param_groups

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self.optimizer.step(closure)


def test_an_optimizer_inside_a_wrapper_is_seen(tmp_path: Path) -> None:
    model = scalar(1.0)
    optimizer = Wrapped(torch.optim.SGD(model.parameters(), lr=0.5))
    with opened(model, optimizer, tmp_path) as telemetry:
        model(x(3.0)).sum().backward()
        optimizer.step()
    found = {kind: row["sum"] for (_, _, kind), row in tensors(telemetry).items()}
    assert found == {"gradient": 3.0, "weight": 1.0, "update": -1.5}
    assert column(telemetry, "lr") == [0.5]


class Shrinking(torch.optim.SGD):
    """Calls the step that it inherits, whose hooks run inside those of its own."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        return super().step(closure)


@pytest.mark.parametrize("with_closure", [True, False])
def test_a_step_within_the_step_of_a_subclass_is_one(
    tmp_path: Path,
    with_closure: bool,  # noqa: FBT001
) -> None:
    torch.optim.SGD(scalar().parameters(), lr=0.5)  # from the first instance on, it has hooks
    model = scalar(1.0)
    optimizer = Shrinking(model.parameters(), lr=0.25)

    def closure() -> float:
        optimizer.zero_grad()
        loss = model(x(1.0)).square().sum()
        loss.backward()
        return float(loss.detach())

    with opened(model, optimizer, tmp_path) as telemetry:
        for _ in range(2):
            if with_closure:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
    rows = steps(telemetry)
    assert [row["step"] for row in rows] == [0, 1]
    assert [row["loss"] for row in rows] == [1.0, 0.25]
    found = tensors(telemetry)
    assert [found[step, "weight", "gradient"]["sum"] for step in range(2)] == [2.0, 1.0]
    assert [found[step, "weight", "update"]["sum"] for step in range(2)] == [-0.5, -0.25]


class Failing(torch.optim.SGD):
    """Raises in its first step."""

    has_failed = False

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        if not self.has_failed:
            self.has_failed = True
            raise ZeroDivisionError
        super().step(closure)


def test_a_step_that_raises_is_none_and_the_next_is_right(tmp_path: Path) -> None:
    model = scalar(1.0)
    optimizer = Failing(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        for number in range(3):
            model.zero_grad()
            loss = model(x(2.0)).sum()
            loss.backward()
            try:
                optimizer.step()
            except ZeroDivisionError:
                assert number == 0
                continue
            telemetry.step(loss=loss)
    rows = steps(telemetry)
    assert [row["step"] for row in rows] == [0, 1]
    assert [row["backward_calls"] for row in rows] == [2, 1]
    found = tensors(telemetry)
    assert [found[step, "weight", "update"]["sum"] for step in range(2)] == [-1.0, -1.0]
    assert [found[step, "weight", "weight"]["sum"] for step in range(2)] == [1.0, 0.0]
