"""What a model answers to single examples, as columns of `example_evals`.

Tensors stay on their device until the rows are asked for.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.capture.tensors.loss_graph import LossOp

TOP_K = 5
ID_CHARACTERS = 16  # of a digest
LEAST_PROBABILITY = 1e-30  # of a logarithm
SUM_TOLERANCE = 1e-3  # of probabilities, in half precision too
MATRIX = 2  # dimensions of scores of classes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassAnswers:
    """Answers of a classifier to n examples, each tensor of shape (n,) but `top` and `top_p`.

    Attributes:
        prediction: Class of the largest score; of no meaning where the confidence is NaN.
        label: The true class; -1: not known.
        loss: Cross-entropy in nats; NaN without a label.
        confidence: Largest probability.
        margin: Largest logit less the second.
        entropy: Of the probabilities, in nats.
        top: Classes of the largest scores, shape (n, k), k at most 5.
        top_p: Their probabilities.
    """

    prediction: Tensor
    label: Tensor
    loss: Tensor
    confidence: Tensor
    margin: Tensor
    entropy: Tensor
    top: Tensor
    top_p: Tensor

    def columns(self, classes: Sequence[str]) -> dict[str, list[object]]:
        """Columns of `example_evals`; waits for the device.

        Args:
            classes: Names; a class without one is its number.
        """
        labels = self.label.tolist()
        predictions = self.prediction.tolist()
        known = [label >= 0 for label in labels]
        said = (~self.confidence.isnan()).tolist()  # scores of NaN name no class
        names = [class_name(label, classes) if label >= 0 else None for label in labels]
        return {
            "label": list(names),
            "prediction": [
                class_name(index, classes) if s else None
                for index, s in zip(predictions, said, strict=True)
            ],
            "correct": [
                s and label == index if k else None
                for label, index, k, s in zip(labels, predictions, known, said, strict=True)
            ],
            "loss": [
                loss if k else None for loss, k in zip(self.loss.tolist(), known, strict=True)
            ],
            "confidence": self.confidence.tolist(),
            "margin": self.margin.tolist(),
            "entropy": self.entropy.tolist(),
            "topk": [
                json.dumps(
                    [
                        {"label": class_name(index, classes), "p": round(p, 6)}
                        for index, p in zip(row, ps, strict=True)
                    ],
                    ensure_ascii=False,
                )
                if s
                else None
                for row, ps, s in zip(self.top.tolist(), self.top_p.tolist(), said, strict=True)
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberAnswers:
    """Answers of a regression to n examples, shape (n,) each; a target of NaN is not known."""

    value: Tensor
    target: Tensor

    def columns(self, classes: Sequence[str] = ()) -> dict[str, list[object]]:
        """Columns of `example_evals`; the loss is the squared error. Waits for the device."""
        del classes  # numbers have none
        values, targets = self.value.tolist(), self.target.tolist()
        known = [target == target for target in targets]  # noqa: PLR0124 - NaN is not known
        return {
            "target_value": [t if k else None for t, k in zip(targets, known, strict=True)],
            "predicted_value": values,
            "loss": [
                (value - target) ** 2 if k else None
                for value, target, k in zip(values, targets, known, strict=True)
            ],
        }


def class_answers(
    scores: Tensor, labels: Tensor | None, *, are_probabilities: bool = False
) -> ClassAnswers:
    """Answers of a classifier, on the device of its scores.

    Args:
        scores: Logits or log-probabilities, shape (n, n_classes); or (n,), the logit of the second
            of two classes.
        labels: True classes, shape (n,), negative where not known; None: none is known.
        are_probabilities: Whether the scores are probabilities instead.
    """
    with torch.no_grad():
        logits = as_logits(scores.detach().float(), are_probabilities=are_probabilities)
        if labels is None:
            labels = torch.full((len(logits),), -1, device=logits.device)
        labels = labels.detach().to(logits.device).long()
        log_p = functional.log_softmax(logits, dim=1)
        top_p, top = log_p.exp().topk(min(TOP_K, logits.shape[1]), dim=1)
        best = logits.topk(2, dim=1).values if logits.shape[1] > 1 else logits.repeat(1, 2)
        losses = -log_p.gather(1, labels.clamp_min(0)[:, None])[:, 0]
        return ClassAnswers(
            prediction=top[:, 0],
            label=labels,
            loss=losses,
            confidence=top_p[:, 0],
            margin=best[:, 0] - best[:, 1],
            entropy=torch.special.entr(log_p.exp()).sum(1),
            top=top,
            top_p=top_p,
        )


def number_answers(values: Tensor, targets: Tensor) -> NumberAnswers:
    """Answers of a regression.

    Args:
        values: Shape (n,).
        targets: Shape (n,), NaN where not known.
    """
    return NumberAnswers(value=values.detach().double(), target=targets.detach().double())


def look_like_probabilities(scores: Tensor) -> bool:
    """Whether scores of shape (n, n_classes) are probabilities: none negative, rows that sum to 1.

    Of scores of shape (n,) nothing can be said: those of sigmoids may be logits as well.
    """
    if scores.dim() != MATRIX or not len(scores):
        return False
    sums = scores.detach().float().sum(1)
    return bool((scores >= 0).all()) and bool(((sums - 1).abs() <= SUM_TOLERANCE).all())


def look_like_sigmoids(scores: Tensor, loss: str | None) -> bool:
    """Whether scores of shape (n,) are probabilities of the second of two classes.

    Args:
        scores: One an example.
        loss: That the training minimises, `LossOp`: one that takes probabilities says what the
            model gives. None: not known.
    """
    is_given = loss == LossOp.BCE and scores.dim() == 1
    return is_given and bool(((scores >= 0) & (scores <= 1)).all())


def class_name(index: int, classes: Sequence[str]) -> str:
    """The name of a class, its number where it has none."""
    return classes[index] if 0 <= index < len(classes) else str(index)


def class_index(label: float | str, classes: Mapping[str, int]) -> int | None:
    """The number of a class given by name or number; None for what is neither."""
    if isinstance(label, str):
        return classes.get(label, int(label) if label.isdigit() else None)
    return int(label) if float(label).is_integer() else None


def input_digest(values: Tensor) -> str:
    """Sixteen characters that are equal for equal inputs: of shape, type and bytes."""
    array = values.contiguous()
    described = f"{array.dtype} {tuple(array.shape)}".encode()
    content = array.flatten().view(torch.uint8).numpy().tobytes() if array.numel() else b""
    return hashlib.sha256(described + content).hexdigest()[:ID_CHARACTERS]


def metadata_text(value: object) -> str | None:
    """Metadata as canonical text, so that a key has one type over all data sets."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_logits(scores: Tensor, *, are_probabilities: bool) -> Tensor:
    """Logits of shape (n, n_classes); one score an example becomes two classes.

    Args:
        scores: Shape (n, n_classes) or (n,).
        are_probabilities: Whether they are probabilities; their logarithms are logits.
    """
    if scores.dim() == MATRIX:
        return scores.clamp_min(LEAST_PROBABILITY).log() if are_probabilities else scores
    if are_probabilities:
        return torch.stack([1 - scores, scores], dim=1).clamp_min(LEAST_PROBABILITY).log()
    return torch.stack([torch.zeros_like(scores), scores], dim=1)
