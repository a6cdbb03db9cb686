"""Trains the same model on the same global batch by one, two and four processes, each recorded."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from telemetry import TelemetryCallback

N_STEPS = 3
N_EXAMPLES = 16


class Net(nn.Module):
    """Rows that neither two nor four ranks share evenly: 5, 1, and 3 of which two are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 5)
        self.active = nn.ReLU()
        self.norm = nn.LayerNorm(5)
        self.rows = nn.Linear(5, 3)
        self.bend = nn.Tanh()
        self.outer = nn.Linear(3, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.norm(self.active(self.inner(inputs)))
        outputs: Tensor = self.outer(self.bend(self.rows(hidden)))
        return outputs


def made() -> nn.Module:
    torch.manual_seed(5)
    model = Net()
    with torch.no_grad():
        model.inner.bias.zero_()
        model.norm.weight[:] = torch.tensor([0.5, -1.0, 1.5, 1.0, 2.0])
        model.outer.weight[:] = torch.tensor([0.5, -0.4, 0.3])  # rows part after the first step
        model.inner.weight[4] = 0.0
        model.rows.weight[:] = model.rows.weight[0]
    return model


def shared_out(model: nn.Module) -> nn.Module:
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    fully_shard(model, mesh=mesh)
    return model


def copied(model: nn.Module) -> nn.Module:
    return DistributedDataParallel(model)


def alone(model: nn.Module) -> nn.Module:
    return model


def train(store: Path, wrap: Callable[[nn.Module], nn.Module], *, rank: int, size: int) -> None:
    model = wrap(made())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    generator = torch.Generator().manual_seed(1)
    with TelemetryCallback(
        model, optimizer, store=store, every=1, overhead_budget=None
    ) as telemetry:
        for _ in range(N_STEPS):
            inputs = torch.randn(N_EXAMPLES, 4, generator=generator)
            targets = inputs.sum(1, keepdim=True)
            own = slice(rank * N_EXAMPLES // size, (rank + 1) * N_EXAMPLES // size)
            loss = nn.functional.mse_loss(model(inputs[own]), targets[own])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            telemetry.step(loss=loss)


def work(folder: Path, rank: int, size: int) -> None:
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/group-{size}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    for name, wrap in (("ddp", copied), ("fsdp", shared_out)):
        train(folder / f"{name}-{size}", wrap, rank=rank, size=size)
    distributed.destroy_process_group()


def in_child(task: Callable[[], None]) -> int:
    """Run a task in a process of its own, which imports nothing anew; its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        task()
        code = 0
    except Exception:  # noqa: BLE001 - this is the end of the process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def waited_for(children: Sequence[int]) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [0] * len(codes), codes


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    children = [in_child(partial(train, folder / "alone", alone, rank=0, size=1))]
    children += [
        in_child(partial(work, folder, rank, size)) for size in (2, 4) for rank in range(size)
    ]
    waited_for(children)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
