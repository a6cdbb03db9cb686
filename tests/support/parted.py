"""Trains replicas in two processes that sample different steps; some of them part."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from ranked import alone, copied, in_child, waited_for
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from telemetry import TelemetryCallback

N_STEPS = 70
PARTS_AT = 37
EVERY = (7, 5)  # of the two ranks, which share the steps 0 and 35


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of two ranks.

    Attributes:
        wrap: Makes of a model what the ranks train.
        parts: Whether one rank changes a weight after step 36.
    """

    wrap: Callable[[nn.Module], nn.Module]
    parts: bool = False


def wholly_sharded(model: nn.Module) -> nn.Module:
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    return model


def partly_sharded(model: nn.Module) -> nn.Module:
    """The last layer is left out: nobody reduces its gradients."""
    fully_shard(model[0], mesh=init_device_mesh("cpu", (2,)))
    return model


TRAININGS = {
    "healthy": Training(wrap=copied),
    "parted": Training(wrap=copied, parts=True),
    "sharded": Training(wrap=wholly_sharded),
    "half": Training(wrap=partly_sharded),
    "alone": Training(wrap=alone),
}


def train(store: Path, training: Training, *, rank: int) -> None:
    torch.manual_seed(5)
    bare = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    model = training.wrap(bare)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(rank)
    with TelemetryCallback(
        model, optimizer, store=store, every=EVERY[rank], overhead_budget=None
    ) as telemetry:
        for step in range(N_STEPS):
            inputs = torch.randn(16, 4, generator=generator)
            loss = nn.functional.mse_loss(model(inputs), inputs.sum(1, keepdim=True))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            telemetry.step(loss=loss)
            if training.parts and rank == 1 and step == PARTS_AT - 1:
                with torch.no_grad():
                    bare[2].bias += 1e-4


def work(folder: Path, rank: int) -> None:
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/group",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    for name, training in TRAININGS.items():
        if name != "alone":
            train(folder / name, training, rank=rank)
    distributed.destroy_process_group()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    children = [in_child(partial(train, folder / "alone", TRAININGS["alone"], rank=0))]
    children += [in_child(partial(work, folder, rank)) for rank in range(2)]
    waited_for(children)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
