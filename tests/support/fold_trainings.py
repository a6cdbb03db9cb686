"""Functions `train_and_score` as users write them, with a planted truth."""

import os
from collections.abc import Mapping

import torch
from torch import nn

from telemetry.explain.folds.folds import Indices
from telemetry.explain.folds.training import FoldCallback
from telemetry.json_values import Json

N = 60
LABELS = [i % 2 for i in range(N)]


def class_labels() -> torch.Tensor:
    return torch.tensor(LABELS)


def logistic(
    params: dict[str, Json],
    train_idx: Indices,
    test_idx: Indices,
    seed: int,
    callback: FoldCallback,
) -> Mapping[str, float]:
    """Only a learning rate that is not tiny learns; `poison` makes the loss not finite."""
    model = nn.Linear(3, 2)  # drawn by the global generator, which the fold has seeded
    labels = class_labels()
    inputs = torch.randn(N, 3, generator=torch.Generator().manual_seed(1)) + 2 * labels[:, None]
    optimizer = torch.optim.SGD(model.parameters(), lr=float(str(params["lr"])))
    telemetry = callback(model, optimizer)
    for _ in range(8):
        loss = nn.functional.cross_entropy(model(inputs[train_idx]), labels[train_idx])
        if params.get("poison") and seed == params["poison"]:
            loss = loss * float("nan")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    right = model(inputs[test_idx]).argmax(1) == labels[test_idx]
    return {"accuracy": right.float().mean()}  # type: ignore[dict-item] - a 0-d tensor is taken


def instant(
    params: dict[str, Json],
    train_idx: Indices,
    test_idx: Indices,
    seed: int,
    callback: FoldCallback,
) -> float:
    """A score without a training: the gain of the configuration and the luck of the fold."""
    del train_idx, test_idx
    if seed == params.get("dies_at"):
        callback(nn.Linear(1, 1), None)
        os._exit(7)
    if seed == params.get("raises_at"):
        raise RuntimeError("no such disk\nand more")
    luck = 0.01 * (seed % 3) + 0.002 * (seed % 2) * float(str(params.get("gain", 0)))
    return float(str(params.get("gain", 0))) + luck


def of_two_arguments(params: dict[str, Json], seed: int) -> float:
    del params, seed
    return 0.0


NOT_A_FUNCTION = 3
