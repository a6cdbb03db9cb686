from collections.abc import Callable
from typing import TypeAlias

import pytest
import torch
from observed_parameters import Observed, backward, clipped, net, one_parameter, rows_of, sgd
from torch import nn
from torch.optim import Optimizer

from telemetry.capture.gradients.clipping import ClipObserver

MakeOptimizer: TypeAlias = Callable[[list[nn.Parameter]], Optimizer]


# --- which rows -----------------------------------------------------------------------------------


def test_each_parameter_has_a_row_of_each_kind() -> None:
    model = net()
    observed = Observed(model, torch.optim.Adam(model.parameters()))
    backward(model)
    rows = observed.step()
    kinds = ("gradient", "optimizer_state", "update", "weight")
    names = [name for name, _ in model.named_parameters()]
    assert sorted(rows) == sorted((name, kind) for name in names for kind in kinds)
    for (name, kind), row in rows.items():
        assert row["param_id"] == rows[name, "weight"]["tensor_id"]
        assert row["provenance"] == ("unscaled" if kind == "gradient" else "")
        assert row["scale"] == (1.0 if kind == "gradient" else None)
        assert row["step"] == 0


def test_weights_are_those_before_the_step_and_updates_what_the_step_did() -> None:
    model, weight = one_parameter(torch.tensor([1.0, 2.0]))
    weight.grad = torch.tensor([1.0, 0.0])
    rows = Observed(model, torch.optim.SGD([weight], lr=0.5)).step()
    assert (rows["weight", "weight"]["sum"], rows["weight", "update"]["sum"]) == (3.0, -0.5)
    assert rows["weight", "update"]["dot_grad"] == -0.5


def test_a_parameter_without_gradient_has_rows_that_say_so() -> None:
    model = net()
    for parameter in model[3].parameters():
        parameter.requires_grad_(requires_grad=True)
    observed = Observed(model, torch.optim.AdamW(model.parameters(), weight_decay=0.1))
    backward(model)
    model[3].zero_grad()
    rows = observed.step()
    gradient = rows["3.weight", "gradient"]
    assert (gradient["n"], gradient["n_sampled"]) == (144, 0)
    assert all(gradient[name] is None for name in ("sum", "sumsq", "n_zero", "hist", "scale"))
    update = rows["3.weight", "update"]
    assert (update["n_sampled"], update["n_zero"]) == (144, 144)
    assert all(update[name] is None for name in ("dot_grad", "n_stuck", "decay_ratio"))
    assert ("3.weight", "optimizer_state") not in rows
    assert rows["0.weight", "gradient"]["n_sampled"] == 144
    assert rows["0.weight", "update"]["decay_ratio"] is not None


def test_a_gradient_has_no_cosine_with_one_that_was_none() -> None:
    model, weight = one_parameter(torch.ones(3))
    observed = Observed(model, torch.optim.SGD([weight], lr=0.1))
    cosines = []
    for gradient in (torch.ones(3), torch.ones(3), None, torch.ones(3), torch.ones(3)):
        weight.grad = gradient
        cosines.append(observed.step()["weight", "gradient"]["cos_prev"])
    assert cosines == [None, pytest.approx(1.0), None, None, pytest.approx(1.0)]


def test_frozen_parameters_have_no_rows() -> None:
    model = net()
    model[0].requires_grad_(requires_grad=False)
    backward(model)
    rows = Observed(model, sgd(model)).step()
    assert {name for name, _ in rows} == {"3.weight", "3.bias", "6.weight", "6.bias"}


def test_a_parameter_frozen_in_mid_run_leaves_and_comes_back() -> None:
    model = net()
    observed = Observed(model, sgd(model))
    seen = []
    for is_trained in (True, False, True):
        model[0].requires_grad_(requires_grad=is_trained)
        backward(model)
        seen.append(("0.weight", "update") in observed.step())
    assert seen == [True, False, True]


def test_a_group_added_in_mid_run_is_sampled_from_then_on() -> None:
    model = net()
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    observed = Observed(model, optimizer)
    backward(model)
    assert ("0.weight", "update") in observed.step()
    optimizer.add_param_group({"params": list(model[3].parameters()), "lr": 0.0})
    extra = nn.Parameter(torch.ones(2))
    optimizer.add_param_group({"params": [extra]})
    backward(model)
    rows = observed.step()
    assert rows["3.weight", "update"]["n_zero"] == 144
    assert rows["optimizer.0.4", "weight"]["sum"] == 2.0
    assert observed.catalogue.entry(extra) is not None


def test_several_optimizers_sample_their_own_parameters() -> None:
    model = net()
    optimizers = [sgd(model[0]), sgd(model[3])]
    observed = Observed(model, optimizers)
    backward(model)
    observed.step(optimizer=0)
    rows = observed.step(optimizer=1)
    assert {name for name, _ in rows} == {"3.weight", "3.bias"}


def test_what_two_optimizers_hold_is_sampled_once_a_step_by_whichever_steps() -> None:
    model = net()
    optimizers = [sgd(model[0]), sgd(model)]
    observed = Observed(model, optimizers)
    backward(model)
    assert {name for name, _ in observed.step(optimizer=0)} == {"0.weight", "0.bias"}
    observed.n_steps = 0
    assert not {name for name, _ in observed.step(optimizer=1)} & {"0.weight", "0.bias"}
    assert ("0.weight", "update") in observed.step(optimizer=1)


def test_trainable_parameters_of_no_optimizer_are_compared_with_their_previous_sample() -> None:
    model = net()
    observed = Observed(model, [sgd(model[0]), sgd(model[3])])
    backward(model)
    first = observed.step(optimizer=0)
    assert ("6.weight", "gradient") in first
    assert ("6.weight", "update") not in first
    assert not {name for name, _ in observed.step(optimizer=1)} & {"6.weight", "6.bias"}
    still = observed.step(optimizer=0)["6.weight", "update"]
    assert (still["n_zero"], still["n_sampled"]) == (36, 36)
    model[6].weight.data.add_(0.5)
    moved = observed.step(optimizer=0)
    assert moved["6.weight", "update"]["n_zero"] == 0
    assert float(str(moved["6.weight", "update"]["sum"])) == pytest.approx(18.0, rel=1e-5)
    assert moved["6.weight", "update"]["dot_grad"] is None
    assert moved["6.weight", "gradient"]["n_sampled"] == 36
    assert observed.step(optimizer=0)["6.weight", "update"]["n_zero"] == 36


def test_a_layer_injected_after_the_optimizer_was_built_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telemetry.capture.parameters.observer.SEARCH_EVERY", 2)
    model = net()
    observed = Observed(model, sgd(model))
    revision = observed.catalogue.revision
    backward(model)
    observed.step()
    model.append(nn.Linear(3, 3))
    backward(model)
    observed.step()
    assert ("7.weight", "gradient") in observed.step()
    assert observed.catalogue.revision > revision


# --- provenance -----------------------------------------------------------------------------------


def test_clipped_gradients_are_labelled_with_their_coefficient() -> None:
    model, weight = one_parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    observed = Observed(model, torch.optim.SGD([weight], lr=0.1))
    row = observed.step(clip=clipped([weight], 1.0))["weight", "gradient"]
    assert row["provenance"] == "clipped"
    assert float(str(row["scale"])) == pytest.approx(0.2)
    assert float(str(row["sumsq"])) == pytest.approx(1.0, rel=1e-5)
    packet = observed.packet
    assert packet is not None
    assert packet.grad_norm_unscaled is not None
    assert packet.grad_norm_unscaled.item() == pytest.approx(5.0, rel=1e-5)
    assert packet.grad_sumsq_total.item() == pytest.approx(1.0, rel=1e-5)


def test_value_clipping_leaves_scale_and_total_unknown() -> None:
    model, weight = one_parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    observer = ClipObserver()
    observer.install()
    nn.utils.clip_grad_value_([weight], 1.0)
    record = observer.take([weight])
    observer.close()
    observed = Observed(model, torch.optim.SGD([weight], lr=0.1))
    row = observed.step(clip=record)["weight", "gradient"]
    assert (row["provenance"], row["scale"]) == ("clipped", None)
    assert row["sumsq"] == pytest.approx(2.0)
    assert observed.packet is not None
    assert observed.packet.grad_norm_unscaled is None


def test_a_loss_scale_that_the_optimizer_removes_itself_is_told() -> None:
    model, weight = one_parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([weight], lr=0.1, weight_decay=0.5)
    optimizer.grad_scale = torch.tensor(1024.0)  # type: ignore[attr-defined]
    weight.grad = torch.tensor([3.0, 4.0]) * 1024
    observed = Observed(model, optimizer)

    def unscaled_step() -> None:
        assert weight.grad is not None
        weight.grad.div_(1024)
        optimizer.step()

    del optimizer.grad_scale  # type: ignore[attr-defined]
    optimizer.grad_scale = torch.tensor(1024.0)  # type: ignore[attr-defined]
    observed.before(optimizer, 0, None)
    del optimizer.grad_scale  # type: ignore[attr-defined]
    unscaled_step()
    packet = observed.after(optimizer, 0)
    assert packet is not None
    rows = rows_of(packet, observed.catalogue)
    assert rows["weight", "gradient"]["provenance"] == "raw"
    assert rows["weight", "gradient"]["scale"] == 1024.0
    assert rows["weight", "optimizer_state"]["rms_ratio"] == pytest.approx(1.0, rel=1e-3)
    assert packet.grad_norm_unscaled is not None
    assert packet.grad_norm_unscaled.item() == pytest.approx(5.0)
