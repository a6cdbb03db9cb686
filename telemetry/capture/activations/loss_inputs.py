"""What is recorded of the inputs of a loss: the sites `logits` and `target` of the root."""

from collections.abc import Sequence

import torch
from torch import Tensor

from telemetry.capture.activations.records import Forward, Label, Measures, Observation
from telemetry.capture.activations.statistics import (
    MAX_ELEMENTS,
    MAX_PROFILE,
    dtype_name,
    is_observable,
    leading,
    measure,
)
from telemetry.capture.tensors.host import is_known_finite
from telemetry.capture.tensors.loss_graph import LossInputs, LossOp

MAX_LOGITS = 1 << 20  # of a batch; rows spread over it stand for the rest
MIN_CLASSES = 2
BINARY = 2
PROBABILITY_THRESHOLD = 0.5
ROOT = ""


def observe_losses(losses: Sequence[LossInputs], forward: Forward) -> list[Observation[Tensor]]:
    """Logits and targets of known losses."""
    observations: list[Observation[Tensor]] = []
    with torch.no_grad():
        for loss in losses:
            if not is_observable(loss.scores):
                continue
            if loss.class_dim is not None:
                observations += _class_loss(loss, loss.class_dim, forward)
            elif loss.op in {LossOp.BCE, LossOp.BCE_WITH_LOGITS}:
                observations += _binary_loss(loss, forward)
            else:
                observations += _regression(loss, forward)
    return observations


def observe_output_logits(
    output: Tensor, forward: Forward, *, training: bool
) -> Observation[Tensor] | None:
    """Logits of a model whose loss is not known: its 2-d output of at least two columns."""
    if output.dim() != 2 or output.shape[1] < MIN_CLASSES:  # noqa: PLR2004 - rows and classes
        return None
    rows = spread(output, output.numel())
    label = Label(
        path=ROOT,
        site="logits",
        forward=forward,
        dtype=dtype_name(output),
        n=rows.numel(),
        n_units=rows.shape[1],
        training=training,
    )
    measures = _centred(rows)._replace(log_partition=_finite_mean(rows.logsumexp(-1)))
    return Observation(label=label, measures=measures)


def _class_loss(loss: LossInputs, class_dim: int, forward: Forward) -> list[Observation[Tensor]]:
    scores = loss.scores.movedim(class_dim, -1)
    count, n_classes = scores.numel(), scores.shape[-1]
    rows = spread(scores, count)
    measures = _centred(rows)
    if loss.op is LossOp.NLL:
        # Here log-probabilities belong: their logsumexp is 0, and probabilities sum to 1.
        measures = measures._replace(
            log_partition=_finite_mean(rows.logsumexp(-1)), row_sum_error=_row_sum_error(rows)
        )
    if loss.first_logits is not None:
        first = spread(loss.first_logits.reshape(*scores.shape[:-1], 1), count)
        measures = measures._replace(log_partition=_finite_mean(first - rows[..., :1]))
    if loss.probabilities is not None:
        given = spread(loss.probabilities, count)
        measures = measures._replace(row_sum_error=_row_sum_error(given))
    found = [_observation("logits", loss, forward, rows, n_classes, measures)]
    if loss.target is not None:
        target = spread(loss.target.reshape(*scores.shape[:-1], 1), count)
        counted = n_classes <= MAX_PROFILE
        own = Measures(classes=target.flatten()) if counted else Measures[Tensor]()
        found.append(_observation("target", loss, forward, target, n_classes, own))
    return found


def _binary_loss(loss: LossInputs, forward: Forward) -> list[Observation[Tensor]]:
    """Two classes, of all entries together: the baseline of each entry is ln 2."""
    border = 0.0 if loss.op is LossOp.BCE_WITH_LOGITS else PROBABILITY_THRESHOLD
    scores = spread(loss.scores.unsqueeze(-1), loss.scores.numel())
    measures = measure(scores)._replace(classes=(scores > border).flatten())
    found = [_observation("logits", loss, forward, scores, BINARY, measures)]
    if loss.target is not None and is_observable(loss.target):
        target = spread(loss.target.unsqueeze(-1), loss.target.numel())
        measures = measure(target)._replace(classes=(target > PROBABILITY_THRESHOLD).flatten())
        found.append(_observation("target", loss, forward, target, BINARY, measures))
    return found


def _regression(loss: LossInputs, forward: Forward) -> list[Observation[Tensor]]:
    """The target alone: its variance is the loss of the best constant."""
    if loss.target is None or not is_observable(loss.target):
        return []
    target = leading(loss.target, MAX_ELEMENTS)
    return [_observation("target", loss, forward, target, None, measure(target))]


def _observation(
    site: str,
    loss: LossInputs,
    forward: Forward,
    values: Tensor,
    n_units: int | None,
    measures: Measures[Tensor],
) -> Observation[Tensor]:
    label = Label(
        path=ROOT,
        site=site,
        forward=forward,
        dtype=dtype_name(values),
        n=values.numel(),
        n_units=n_units,
        loss_op=str(loss.op),
        ignored_class=loss.ignored,
    )
    return Observation(label=label, measures=measures)


def spread(rows: Tensor, count: int) -> Tensor:
    """A view of rows spread evenly over the longest leading dimension, about 2^20 elements.

    Tensors of the same leading shape give the same rows for the same `count`.

    Args:
        rows: Shape (..., width).
        count: Elements that all rows have together, of the widest such tensor.
    """
    stride = -(-count // MAX_LOGITS)
    if stride == 1 or rows.dim() == 1:
        return rows
    longest = max(range(rows.dim() - 1), key=lambda dim: rows.shape[dim])
    length = rows.shape[longest]
    return rows[(slice(None),) * longest + (slice(None, None, min(stride, length)),)]


def _centred(rows: Tensor) -> Measures[Tensor]:
    """Moments after removing each row's mean, which no softmax sees, and predicted classes.

    Masked classes (-inf) count as infinite elements and do not enter the mean.
    """
    means = rows.mean(-1, keepdim=True)
    if not is_known_finite(means):
        finite = torch.isfinite(rows)
        total = torch.where(finite, rows, 0.0).sum(-1, keepdim=True)
        means = total / finite.sum(-1, keepdim=True)
    measures = measure(rows - means)
    if rows.shape[-1] > MAX_PROFILE:
        return measures
    return measures._replace(classes=rows.argmax(-1).flatten())


def _row_sum_error(rows: Tensor) -> Tensor:
    return (rows.sum(-1) - 1).abs().amax()


def _finite_mean(values: Tensor) -> Tensor:
    mean = values.mean()
    if is_known_finite(mean):
        return mean
    finite = torch.isfinite(values)
    return torch.where(finite, values, 0.0).sum() / finite.sum()
