"""Two replicas in lockstep, each recorded as one rank of the same run; gradients are averaged."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

import torch
from torch import nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


def train(record: Record, *, seed: int, not_reduced: str = "", shared_data: bool = False) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        not_reduced: Prefix of parameters whose gradients stay each rank's own.
        shared_data: Whether both ranks read the same batches.
    """
    models, optimizers = [], []
    for _ in range(2):
        torch.manual_seed(seed)
        models.append(nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 4)))
        optimizers.append(torch.optim.SGD(models[-1].parameters(), 0.1))
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, 16, generator=generator)
    with ExitStack() as stack:
        callbacks = []
        for rank in range(2):
            variables = {"RANK": str(rank), "WORLD_SIZE": "2", "TELEMETRY_RUN_ID": f"job-{seed}"}
            with patch.dict(os.environ, variables):
                callbacks.append(stack.enter_context(record(models[rank], optimizers[rank])))
        for _ in range(60):
            labels = torch.randint(4, (2, 32), generator=generator)
            inputs = centres[labels] + torch.randn(2, 32, 16, generator=generator)
            losses = []
            for rank, model in enumerate(models):
                read = 0 if shared_data else rank
                losses.append(functional.cross_entropy(model(inputs[read]), labels[read]))
                optimizers[rank].zero_grad()
                losses[-1].backward()
            for (name, a), (_, b) in zip(
                models[0].named_parameters(), models[1].named_parameters(), strict=True
            ):
                if not_reduced and name.startswith(not_reduced):
                    continue
                mean = (a.grad + b.grad) / 2
                a.grad.copy_(mean)
                b.grad.copy_(mean)
            for rank in range(2):
                optimizers[rank].step()
                callbacks[rank].step(loss=losses[rank])
