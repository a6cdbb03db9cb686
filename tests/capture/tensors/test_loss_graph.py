"""Known losses found in the autograd graph, and the rows of their logits and targets."""

import math
from collections.abc import Callable

import pytest
import torch
from observed import Rows, observed_step, profile, site, sites
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from telemetry.capture.activations.loss_inputs import MAX_LOGITS, spread
from telemetry.capture.activations.observer import ModuleObserver
from telemetry.capture.tensors.loss_graph import LossOp, losses_of

CLASSES = torch.tensor([0, 2, 2, 1, 2])


def scores(*shape: int) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return values.requires_grad_()


def found(loss: Tensor) -> list[LossOp]:
    return [entry.op for entry in losses_of([loss])]


class Scorer(nn.Module):
    """A model whose output is its one parameter, so that the logits of a test are given."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())

    def forward(self) -> Tensor:
        return self.logits * 1.0


def rows_with(logits: Tensor, loss: Callable[[Tensor], Tensor]) -> Rows:
    model = Scorer(logits)
    return observed_step(model, lambda: loss(model()))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda x: functional.cross_entropy(x, CLASSES), LossOp.CROSS_ENTROPY),
        (lambda x: functional.cross_entropy(x, CLASSES, reduction="sum") / 5, LossOp.CROSS_ENTROPY),
        (lambda x: functional.cross_entropy(x, CLASSES, label_smoothing=0.1), LossOp.CROSS_ENTROPY),
        (
            lambda x: functional.cross_entropy(x, CLASSES, reduction="none").mean() * 2,
            LossOp.CROSS_ENTROPY,
        ),
        (
            lambda x: functional.cross_entropy(x, functional.one_hot(CLASSES, 3).float()),
            LossOp.CROSS_ENTROPY,
        ),
        (lambda x: functional.nll_loss(x, CLASSES), LossOp.NLL),
        (lambda x: functional.nll_loss(x.log_softmax(1), CLASSES), LossOp.CROSS_ENTROPY),
        (lambda x: functional.mse_loss(x, torch.zeros(5, 3)), LossOp.MSE),
        (lambda x: functional.smooth_l1_loss(x, torch.zeros(5, 3)), LossOp.SMOOTH_L1),
        (lambda x: functional.huber_loss(x, torch.zeros(5, 3)), LossOp.HUBER),
        (
            lambda x: functional.binary_cross_entropy_with_logits(x, torch.zeros(5, 3)),
            LossOp.BCE_WITH_LOGITS,
        ),
        (
            lambda x: functional.binary_cross_entropy(x.sigmoid(), torch.zeros(5, 3)),
            LossOp.BCE,
        ),
        (
            lambda x: 0.1 * x.square().sum() + functional.cross_entropy(x, CLASSES) / 4,
            LossOp.CROSS_ENTROPY,
        ),
    ],
)
def test_a_known_loss_is_found_below_sums_and_means(
    loss: Callable[[Tensor], Tensor], expected: LossOp
) -> None:
    assert found(loss(scores(5, 3))) == [expected]


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: x.sum(),
        lambda x: (x - 1).abs().mean(),
        lambda x: functional.kl_div(x.log_softmax(1), torch.full((5, 3), 1 / 3), reduction="sum"),
        lambda x: -(x.log_softmax(1).gather(1, CLASSES[:, None]) * 2).mean(),
        lambda x: (x.softmax(1) * x.log_softmax(1)).sum(),
        lambda x: functional.linear(functional.cross_entropy(x, CLASSES)[None], torch.ones(1, 1)),
    ],
)
def test_other_losses_are_not_taken_for_known_ones(loss: Callable[[Tensor], Tensor]) -> None:
    assert found(loss(scores(5, 3))) == []


def test_equal_losses_of_one_sum_are_all_found_and_others_left_out() -> None:
    x = scores(5, 3)
    ones = torch.ones(5, 3)
    both = functional.binary_cross_entropy_with_logits(x, ones)
    both = both + functional.binary_cross_entropy_with_logits(-x, 0 * ones)
    assert found(both) == [LossOp.BCE_WITH_LOGITS] * 2
    assert found(both + functional.mse_loss(x, ones)) == [LossOp.MSE]


def test_a_graph_that_was_freed_gives_nothing() -> None:
    loss = functional.cross_entropy(scores(5, 3), CLASSES)
    loss.backward()
    assert losses_of([loss]) == []


def test_a_root_without_graph_gives_nothing() -> None:
    assert losses_of([torch.ones(())]) == []


def test_a_deep_graph_is_walked_only_so_far() -> None:
    x = scores(5, 3)
    loss = functional.cross_entropy(x, CLASSES)
    for _ in range(100):
        loss = loss + 1.0
    assert losses_of([loss]) == []


def test_logits_of_cross_entropy_are_centred_and_their_classes_counted() -> None:
    logits = torch.tensor([[5.0, 1.0, 0.0], [0.0, 3.0, 0.0], [9.0, 9.0, 0.0], [0.0, 0.0, 6.0]])
    rows = rows_with(logits, lambda x: functional.cross_entropy(x, torch.tensor([0, 1, 1, 1])))
    row, target = site(rows, "", "logits"), site(rows, "", "target")
    assert row["loss_op"] == target["loss_op"] == "cross_entropy"
    assert (row["n"], row["n_units"], target["n"], target["n_units"]) == (12, 3, 4, 3)
    assert list(profile(row)) == [2, 1, 1]
    assert list(profile(target)) == [1, 3, 0]
    assert row["n_profile"] == target["n_profile"] == 3
    assert row["absmax"] == pytest.approx(6.0)  # of row [9, 9, 0], whose mean is 6
    assert row["log_partition"] == pytest.approx(logits.logsumexp(1).mean().item(), rel=1e-5)
    assert row["row_sum_error"] is None
    assert target["dtype"] == "int64"


def test_ignored_targets_are_not_counted() -> None:
    targets = torch.tensor([0, -100, 2, -100, 2])
    rows = rows_with(scores(5, 3), lambda x: functional.cross_entropy(x, targets))
    assert list(profile(site(rows, "", "target"))) == [1, 0, 2]
    rows = rows_with(scores(5, 3), lambda x: functional.cross_entropy(x, CLASSES, ignore_index=2))
    assert list(profile(site(rows, "", "target"))) == [1, 1, 0]


def test_images_have_their_classes_in_the_second_dimension() -> None:
    logits = scores(2, 3, 4, 4).detach()
    targets = torch.randint(3, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    rows = rows_with(logits, lambda x: functional.cross_entropy(x, targets))
    row = site(rows, "", "logits")
    assert list(profile(row)) == torch.bincount(logits.argmax(1).flatten(), minlength=3).tolist()
    assert row["log_partition"] == pytest.approx(logits.logsumexp(1).mean().item(), rel=1e-5)
    expected = torch.bincount(targets.flatten(), minlength=3).tolist()
    assert list(profile(site(rows, "", "target"))) == expected


def test_flattened_tokens_keep_the_log_partition() -> None:
    logits = scores(2, 4, 7).detach() * 5
    targets = torch.randint(7, (8,), generator=torch.Generator().manual_seed(1))
    rows = rows_with(logits, lambda x: functional.cross_entropy(x.view(-1, 7).float(), targets))
    row = site(rows, "", "logits")
    assert row["log_partition"] == pytest.approx(logits.logsumexp(-1).mean().item(), rel=1e-5)


def test_shifted_tokens_have_logits_but_no_log_partition() -> None:
    targets = torch.zeros(6, dtype=torch.int64)
    rows = rows_with(
        scores(2, 4, 7), lambda x: functional.cross_entropy(x[:, :-1].reshape(-1, 7), targets)
    )
    assert site(rows, "", "logits")["log_partition"] is None
    assert site(rows, "", "logits")["n_units"] == 7


def test_probabilities_passed_as_logits_show_in_the_row_sum_error() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
    rows = observed_step(
        model, lambda: functional.cross_entropy(model(scores(5, 4).detach()), CLASSES)
    )
    assert site(rows, "", "logits")["row_sum_error"] == pytest.approx(0, abs=1e-5)


def test_raw_logits_passed_to_nll_loss_show_in_log_partition() -> None:
    logits = scores(5, 3).detach() + 3
    row = site(rows_with(logits, lambda x: functional.nll_loss(x, CLASSES)), "", "logits")
    assert row["loss_op"] == "nll_loss"
    assert row["log_partition"] == pytest.approx(logits.logsumexp(1).mean().item(), rel=1e-5)
    assert row["row_sum_error"] == pytest.approx((logits.sum(1) - 1).abs().max().item(), rel=1e-4)


def test_binary_losses_count_two_classes() -> None:
    logits = torch.tensor([-1.0, 2.0, 3.0, -4.0])
    targets = torch.tensor([0.0, 1.0, 0.0, 0.0])
    rows = rows_with(logits, lambda x: functional.binary_cross_entropy_with_logits(x, targets))
    row, target = site(rows, "", "logits"), site(rows, "", "target")
    assert list(profile(row)) == [2, 2]
    assert list(profile(target)) == [3, 1]
    assert (row["n_units"], row["min"], row["max"]) == (2, -4.0, 3.0)
    rows = rows_with(logits, lambda x: functional.binary_cross_entropy(x.sigmoid(), targets))
    assert list(profile(site(rows, "", "logits"))) == [2, 2]


def test_the_variance_of_a_regression_target_can_be_told() -> None:
    targets = torch.tensor([1.0, 2.0, 3.0, 6.0])
    rows = rows_with(torch.zeros(4), lambda x: functional.mse_loss(x, targets))
    row = site(rows, "", "target")
    assert (row["n"], row["sum"], row["sumsq"]) == (4, 12.0, pytest.approx(50.0))
    assert row["loss_op"] == "mse_loss"
    assert "logits" not in sites(rows, "")


def test_masked_classes_leave_the_other_logits_readable() -> None:
    logits = torch.tensor([[1.0, 3.0, -math.inf], [2.0, 0.0, -math.inf]])
    rows = rows_with(logits, lambda x: functional.cross_entropy(x, torch.tensor([0, 1])))
    row = site(rows, "", "logits")
    assert (row["n_inf"], row["n_nan"]) == (2, 0)
    assert row["absmax"] == pytest.approx(1.0)
    assert row["log_partition"] == pytest.approx(
        torch.logsumexp(logits[:, :2], 1).mean().item(), rel=1e-5
    )


def test_micro_batches_are_added_up() -> None:
    model = Scorer(scores(5, 3))
    observer = ModuleObserver(model)
    observer.begin(4)
    for _ in range(3):
        loss = functional.cross_entropy(model(), CLASSES)
        observer.observe_roots([loss])
        loss.backward()
    packet = observer.end()
    assert packet is not None
    ((_, table),) = packet.rows()
    rows = {row["site"]: row for row in table.to_pylist()}
    assert list(profile(rows["target"])) == [3, 3, 9]
    assert rows["logits"]["n"] == 45


def test_an_unknown_loss_leaves_the_two_dimensional_output_as_logits() -> None:
    logits = scores(5, 3).detach()
    row = site(rows_with(logits, lambda x: x.square().sum()), "", "logits")
    assert row["loss_op"] is None
    assert row["n_units"] == 3
    assert profile(row).sum() == 5
    assert row["log_partition"] == pytest.approx(logits.logsumexp(1).mean().item(), rel=1e-5)


def test_an_output_of_one_column_is_no_logits() -> None:
    assert "logits" not in sites(rows_with(scores(5, 1), lambda x: x.square().sum()), "")


def test_logits_of_an_unknown_loss_come_back_after_a_known_one() -> None:
    model = Scorer(scores(5, 3))
    observer = ModuleObserver(model)

    def loss_op(loss: Callable[[Tensor], Tensor]) -> object:
        rows = observed_step(model, lambda: loss(model()), observer=observer)
        return site(rows, "", "logits")["loss_op"] if "logits" in sites(rows, "") else "none"

    known = [loss_op(lambda x: functional.cross_entropy(x, CLASSES)) for _ in range(2)]
    unknown = [loss_op(lambda x: x.square().sum()) for _ in range(3)]
    assert known == ["cross_entropy"] * 2
    assert unknown[1:] == [None, None]


def test_a_loss_inside_a_checkpoint_does_not_break_backward() -> None:
    model = nn.Linear(4, 3)
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))

    def loss() -> Tensor:
        return checkpoint(
            lambda x: functional.cross_entropy(model(x), CLASSES), inputs, use_reentrant=False
        )

    loss().backward()
    expected = model.weight.grad.clone()
    model.zero_grad()
    rows = observed_step(model, loss)
    assert torch.equal(model.weight.grad, expected)
    assert list(profile(site(rows, "", "target"))) == [1, 1, 3]


def test_many_logits_are_read_in_rows_spread_over_the_batch() -> None:
    width = 1 << 10
    rows = torch.arange(8.0 * MAX_LOGITS / width)[:, None].expand(-1, width)
    part = spread(rows, rows.numel())
    assert part.numel() == MAX_LOGITS
    assert part[:, 0].tolist()[:3] == [0.0, 8.0, 16.0]
    target = spread(rows[:, :1], rows.numel())
    assert torch.equal(target[:, 0], part[:, 0])
