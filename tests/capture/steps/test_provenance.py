import math
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.utils import clip_grad

from telemetry.capture.gradients.clipping import ClipObserver
from telemetry.capture.parameters.gradient_scales import scales_of, unscaled_sumsq
from telemetry.capture.steps.provenance import Provenance, loss_scale

CLIP_GRAD_NORM = nn.utils.clip_grad_norm_  # as `from torch.nn.utils import clip_grad_norm_`
CLIP_GRAD_VALUE = nn.utils.clip_grad_value_
ORIGINALS = (
    nn.utils.clip_grads_with_norm_,
    nn.utils.get_total_norm,
    clip_grad._clip_grads_with_norm_,
    clip_grad._group_tensors_by_device_and_dtype,
    clip_grad._get_total_norm,
)


@pytest.fixture
def observer() -> Iterator[ClipObserver]:
    made = ClipObserver()
    made.install()
    yield made
    made.close()


def parameters(*gradients: list[float]) -> list[nn.Parameter]:
    made = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros(len(gradient)))
        parameter.grad = torch.tensor(gradient)
        made.append(parameter)
    return made


def now() -> tuple[object, ...]:
    return (
        nn.utils.clip_grads_with_norm_,
        nn.utils.get_total_norm,
        clip_grad._clip_grads_with_norm_,
        clip_grad._group_tensors_by_device_and_dtype,
        clip_grad._get_total_norm,
    )


def number(value: Tensor | None) -> float:
    assert value is not None
    return value.item()


def test_the_functions_are_replaced_while_an_observer_is_installed_and_put_back_after() -> None:
    first, second = ClipObserver(), ClipObserver()
    first.install()
    first.install()
    second.install()
    assert all(mine is not theirs for mine, theirs in zip(now(), ORIGINALS, strict=True))
    first.close()
    assert now() != ORIGINALS
    second.close()
    second.close()
    assert now() == ORIGINALS


def test_a_name_that_somebody_replaced_later_stays_theirs(
    observer: ClipObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(nn.utils, "get_total_norm", number)
        observer.close()
        assert nn.utils.get_total_norm is number
        assert clip_grad._get_total_norm is ORIGINALS[4]
        patch.undo()
    nn.utils.get_total_norm = ORIGINALS[1]


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_arguments_results_and_gradients_stay_as_they_were(
    observer: ClipObserver, norm_type: float
) -> None:
    plain, observed = parameters([3.0, 4.0], [12.0]), parameters([3.0, 4.0], [12.0])
    expected = torch.linalg.vector_norm(torch.tensor([3.0, 4.0, 12.0]), norm_type)
    for parameter in plain:
        parameter.grad *= torch.clamp(6.5 / (expected + 1e-6), max=1.0)  # type: ignore[operator]
    state = torch.get_rng_state()
    got = nn.utils.clip_grad_norm_(
        parameters=observed, max_norm=6.5, norm_type=norm_type, foreach=False
    )
    assert torch.equal(got, expected)
    assert torch.equal(torch.get_rng_state(), state)
    for left, right in zip(plain, observed, strict=True):
        assert torch.equal(left.grad, right.grad)  # type: ignore[arg-type]
    record = observer.take(observed)
    assert record is not None
    assert number(record.coefficient) == pytest.approx(min(1.0, 6.5 / (expected.item() + 1e-6)))
    assert (record.total_norm is None) == (norm_type != 2.0)


def test_a_clipping_is_told_once_with_norm_limit_and_coefficient(observer: ClipObserver) -> None:
    clipped = parameters([3.0, 4.0])
    nn.utils.clip_grad_norm_(clipped, 1.0)
    record = observer.take(clipped)
    assert record is not None
    assert (number(record.total_norm), record.max_norm, record.by_value) == (5.0, 1.0, False)
    assert number(record.coefficient) == pytest.approx(0.2)
    assert observer.take(clipped) is None


def test_a_function_that_the_script_imported_by_name_before_is_seen(
    observer: ClipObserver,
) -> None:
    clipped = parameters([3.0, 4.0])
    CLIP_GRAD_NORM(clipped, 1.0)
    record = observer.take(clipped)
    assert record is not None
    assert number(record.total_norm) == 5.0


def test_scaling_by_a_norm_computed_apart_is_a_clipping(observer: ClipObserver) -> None:
    clipped = parameters([3.0, 4.0])
    total_norm = nn.utils.get_total_norm([p.grad for p in clipped if p.grad is not None])
    nn.utils.clip_grads_with_norm_(clipped, 1.0, total_norm)
    record = observer.take(clipped)
    assert record is not None
    assert number(record.coefficient) == pytest.approx(0.2)


def test_a_norm_below_the_limit_has_coefficient_one(observer: ClipObserver) -> None:
    clipped = parameters([3.0, 4.0])
    nn.utils.clip_grad_norm_(clipped, 10.0)
    record = observer.take(clipped)
    assert record is not None
    assert number(record.coefficient) == 1.0


def test_clippings_of_other_parameters_wait_for_their_own_take(observer: ClipObserver) -> None:
    generator, discriminator = parameters([3.0, 4.0]), parameters([6.0, 8.0])
    nn.utils.clip_grad_norm_(generator, 1.0)
    nn.utils.clip_grad_norm_(discriminator, 1.0)
    mine = observer.take(discriminator)
    theirs = observer.take(generator)
    assert mine is not None
    assert theirs is not None
    assert (number(mine.total_norm), number(theirs.total_norm)) == (10.0, 5.0)


@pytest.mark.parametrize("kind", ["tensor", "generator", "filter", "tuple"])
def test_parameters_may_come_in_any_form(observer: ClipObserver, kind: str) -> None:
    clipped = parameters([3.0, 4.0])
    forms = {
        "tensor": clipped[0],
        "generator": (parameter for parameter in clipped),
        "filter": filter(torch.is_tensor, clipped),
        "tuple": tuple(clipped),
    }
    assert nn.utils.clip_grad_norm_(forms[kind], 1.0).item() == 5.0  # type: ignore[arg-type]
    assert observer.take(clipped) is not None
    assert clipped[0].grad is not None
    assert clipped[0].grad.norm().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.usefixtures("observer")
def test_torch_still_warns_of_an_empty_generator() -> None:
    with pytest.warns(UserWarning, match="empty generator"):
        nn.utils.clip_grad_norm_((parameter for parameter in ()), 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.utils.clip_grad_norm_((), 1.0)


def test_an_error_of_torch_reaches_the_caller_and_is_no_clipping(observer: ClipObserver) -> None:
    clipped = parameters([math.nan])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(clipped, 1.0, error_if_nonfinite=True)
    assert observer.take(clipped) is None


def test_value_clipping_has_no_coefficient(observer: ClipObserver) -> None:
    clipped = parameters([3.0, -4.0])
    nn.utils.clip_grad_value_(clipped, clip_value=1.0)
    record = observer.take(clipped)
    assert record is not None
    assert record.by_value
    assert record.coefficient is record.total_norm is record.max_norm is None
    assert clipped[0].grad is not None
    assert clipped[0].grad.tolist() == [1.0, -1.0]


@pytest.mark.parametrize("foreach", [True, False, None])
def test_value_clipping_is_seen_however_the_script_imported_it(
    observer: ClipObserver,
    foreach: bool | None,  # noqa: FBT001
) -> None:
    clipped, other = parameters([3.0, -4.0], [5.0])
    nn.utils.clip_grad_norm_([other], 1.0, foreach=foreach)
    CLIP_GRAD_VALUE((p for p in (clipped,)), 1.0, foreach=foreach)
    assert observer.take([nn.Parameter(torch.zeros(1))]) is None
    record = observer.take([clipped])
    assert record is not None
    assert [(call.by_value, call.parameters) for call in record.calls] == [(True, {id(clipped)})]
    theirs = observer.take([other])
    assert theirs is not None
    assert not theirs.by_value
    assert clipped.grad is not None
    assert clipped.grad.tolist() == [1.0, -1.0]


def test_each_of_two_optimizers_is_told_of_the_call_that_clipped_both(
    observer: ClipObserver,
) -> None:
    first, second = parameters([3.0], [4.0])
    nn.utils.clip_grad_norm_([first, second], 1.0)
    CLIP_GRAD_VALUE([first, second], 0.1)
    for own in (first, second):
        record = observer.take([own])
        assert record is not None
        assert number(record.total_norm) == 5.0
        assert record.by_value
        assert record.covers_all
        assert observer.take([own]) is None


def test_a_call_covers_an_optimizer_if_each_of_its_gradients_was_clipped(
    observer: ClipObserver,
) -> None:
    first, second, third = made = parameters([3.0], [4.0], [12.0])
    third.grad = None
    nn.utils.clip_grad_norm_([first], 1.0)
    record = observer.take(made)
    assert record is not None
    assert not record.covers_all
    nn.utils.clip_grad_norm_([first, second], 1.0)
    record = observer.take(made)
    assert record is not None
    assert record.covers_all


def test_calls_that_no_step_asks_for_are_forgotten(observer: ClipObserver) -> None:
    mine, foreign = parameters([3.0], [4.0])
    nn.utils.clip_grad_norm_([mine, foreign], 1.0)
    observer.take([mine])
    nn.utils.clip_grad_norm_([foreign], 1.0)
    observer.forget_taken()
    assert len(observer._calls) == 1
    observer.forget_taken()
    assert len(observer._calls) == 0


def test_a_norm_of_scaled_gradients_is_told_without_the_scale(observer: ClipObserver) -> None:
    clipped = parameters([3.0, 4.0])
    nn.utils.clip_grad_norm_(clipped, 1.0)
    scale = torch.tensor(8.0)
    observer.note_unscaling(clipped, scale)
    scale.fill_(4.0)
    observer.note_unscaling(clipped, scale)
    record = observer.take(clipped)
    assert record is not None
    assert number(record.total_norm) == 5.0 / 8.0
    assert number(record.coefficient) == pytest.approx(0.2)


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield init_device_mesh("cpu", (2,))
    torch.distributed.destroy_process_group()


def test_the_norm_of_sharded_gradients_is_known_where_every_rank_holds_it(
    observer: ClipObserver, mesh: DeviceMesh
) -> None:
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

    local = torch.tensor([3.0, 4.0])
    clipped = nn.Parameter(DTensor.from_local(torch.zeros(2), mesh, [Shard(0)]))
    for placement, expected in ((Replicate(), 5.0), (Partial(), None)):
        clipped.grad = DTensor.from_local(local.clone(), mesh, [Shard(0)])
        total = DTensor.from_local(torch.tensor(5.0), mesh, [placement])
        nn.utils.clip_grads_with_norm_([clipped], 1.0, total)
        record = observer.take([clipped])
        assert record is not None
        assert (None if record.total_norm is None else number(record.total_norm)) == expected


def test_calls_on_disjoint_parameters_add_up_and_overlapping_ones_do_not(
    observer: ClipObserver,
) -> None:
    clipped = parameters([3.0], [4.0])
    nn.utils.clip_grad_norm_(clipped[:1], 1.5)
    nn.utils.clip_grad_norm_(clipped[1:], 1.0)
    record = observer.take(clipped)
    assert record is not None
    assert number(record.total_norm) == 5.0
    assert number(record.coefficient) == pytest.approx(0.25)
    nn.utils.clip_grad_norm_(clipped, 0.5)
    nn.utils.clip_grad_norm_(clipped[1:], 0.1)
    record = observer.take(clipped)
    assert record is not None
    assert record.total_norm is None


def test_every_installed_observer_is_told(observer: ClipObserver) -> None:
    second = ClipObserver()
    second.install()
    clipped = parameters([3.0, 4.0])
    nn.utils.clip_grad_norm_(clipped, 1.0)
    assert observer.take(clipped) is not None
    assert second.take(clipped) is not None
    second.close()


# --- scales ---------------------------------------------------------------------------------------


def test_each_gradient_has_the_scale_of_the_calls_that_touched_it(observer: ClipObserver) -> None:
    first, second, third = made = parameters([3.0], [4.0], [12.0])
    nn.utils.clip_grad_norm_([first, second], 1.0)
    nn.utils.clip_grad_norm_([second], 0.4)
    scales = scales_of(made, observer.take(made), None)
    assert list(scales.provenance) == [
        Provenance.CLIPPED,
        Provenance.CLIPPED,
        Provenance.UNSCALED,
    ]
    assert scales.values() == pytest.approx([0.2, 0.1, 1.0], rel=1e-4)
    seen = torch.stack([p.grad.square().sum() for p in made if p.grad is not None])
    assert third.grad is not None
    unscaled = unscaled_sumsq(seen, scales)
    assert unscaled is not None
    assert number(unscaled.sum()) == pytest.approx(169.0, rel=1e-4)


def test_a_loss_scale_in_the_gradient_makes_it_raw(observer: ClipObserver) -> None:
    made = parameters([3.0], [4.0])
    nn.utils.clip_grad_norm_(made[:1], 1.5)
    scales = scales_of(made, observer.take(made), torch.tensor(1024.0))
    assert list(scales.provenance) == [Provenance.RAW, Provenance.RAW]
    assert scales.values() == pytest.approx([512.0, 1024.0], rel=1e-4)


def test_value_clipping_leaves_no_scale(observer: ClipObserver) -> None:
    made = parameters([3.0], [4.0])
    nn.utils.clip_grad_value_(made[:1], 1.0)
    scales = scales_of(made, observer.take(made), None)
    assert math.isnan(scales.values()[0])
    assert scales.values()[1] == 1.0
    assert unscaled_sumsq(torch.ones(2), scales) is None


def test_the_loss_scale_of_a_fused_optimizer_is_copied() -> None:
    optimizer = torch.optim.SGD(parameters([1.0]), lr=0.1)
    assert loss_scale(optimizer) is None
    optimizer.grad_scale = torch.tensor(8.0)  # type: ignore[attr-defined]
    scale = loss_scale(optimizer)
    optimizer.grad_scale.fill_(4.0)  # type: ignore[attr-defined]
    assert number(scale) == 8.0
