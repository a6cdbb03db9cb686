"""Ways to record a workload that `overhead.py` compares: this project's three, and four others.

All others record what they can of every gradient and weight on each tenth step, as a user would
write it by their documentation, and the loss of every step. A recorder is a context manager that
is told each step.
"""

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from torch import Tensor
from workloads import Workload

from telemetry import TelemetryCallback

CADENCE = 10
Told = Callable[[int, Tensor], None]
Recorder = Callable[[Workload, Path], AbstractContextManager[Told]]


@contextmanager
def defaults(workload: Workload, folder: Path) -> Iterator[Told]:
    """The governor at 1 %, without the allowance that lets a short run be fully observed."""
    with TelemetryCallback(
        workload.model, workload.optimizer, store=folder, overhead_allowance_s=0.0
    ) as telemetry:
        yield lambda step, loss: telemetry.step(loss=loss)  # noqa: ARG005 - counts by itself


@contextmanager
def judged(workload: Workload, folder: Path) -> Iterator[Told]:
    """As `defaults`, and judged while it trains: the first time after 5 s, then as allowed."""
    with TelemetryCallback(
        workload.model,
        workload.optimizer,
        store=folder,
        overhead_allowance_s=0.0,
        on_finding=lambda finding: None,  # noqa: ARG005 - what is found is not what is measured
    ) as telemetry:
        yield lambda step, loss: telemetry.step(loss=loss)  # noqa: ARG005 - counts by itself


@contextmanager
def every_10(workload: Workload, folder: Path) -> Iterator[Told]:
    """All statistics with histograms and activations each tenth step, governor off."""
    with TelemetryCallback(
        workload.model, workload.optimizer, store=folder, every=CADENCE, overhead_budget=None
    ) as telemetry:
        yield lambda step, loss: telemetry.step(loss=loss)  # noqa: ARG005 - counts by itself


@contextmanager
def naive_norms(workload: Workload, folder: Path) -> Iterator[Told]:
    """L2 norms alone, read one by one: the lines that most people write themselves."""
    del folder
    kept: list[float] = []

    def told(step: int, loss: Tensor) -> None:
        kept.append(loss.item())
        if step % CADENCE:
            return
        for parameter in workload.model.parameters():
            kept.append(parameter.detach().norm().item())
            if parameter.grad is not None:
                kept.append(parameter.grad.norm().item())

    yield told


@contextmanager
def tensorboard(workload: Workload, folder: Path) -> Iterator[Told]:
    """`SummaryWriter.add_histogram` of each weight and gradient."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def told(step: int, loss: Tensor) -> None:
        writer.add_scalar("loss", loss.item(), step)
        if step % CADENCE:
            return
        for name, parameter in workload.model.named_parameters():
            writer.add_histogram(f"weight/{name}", parameter, step)
            if parameter.grad is not None:
                writer.add_histogram(f"gradient/{name}", parameter.grad, step)

    yield told
    writer.close()


@contextmanager
def wandb_watch(workload: Workload, folder: Path) -> Iterator[Told]:
    """`wandb.watch(log="all")`, offline."""
    import wandb

    settings = wandb.Settings(silent=True, console="off")
    run = wandb.init(mode="offline", dir=str(folder), settings=settings)
    wandb.watch(workload.model, log="all", log_freq=CADENCE)

    def told(step: int, loss: Tensor) -> None:
        del step
        run.log({"loss": loss.item()})

    yield told
    wandb.unwatch(workload.model)
    run.finish()


@contextmanager
def pulsegrad(workload: Workload, folder: Path) -> Iterator[Told]:
    """`pulsegrad.watch` with its defaults, each tenth step."""
    import pulsegrad as package

    os.environ["PULSEGRAD_CONSOLE"] = "off"
    with redirect_stdout(StringIO()):
        session = package.watch(workload.model, workload.optimizer, run_dir=folder, k=CADENCE)
        yield lambda step, loss: None  # noqa: ARG005 - it sees the loop by itself
        session.close()


RECORDERS: dict[str, Recorder] = {
    "defaults": defaults,
    "judged": judged,
    "every-10": every_10,
    "naive": naive_norms,
    "tensorboard": tensorboard,
    "wandb": wandb_watch,
    "pulsegrad": pulsegrad,
}
OURS = ("defaults", "judged", "every-10")
OTHERS = tuple(name for name in RECORDERS if name not in OURS)


def missing() -> list[str]:
    """Recorders whose package is not installed."""
    logging.getLogger("wandb").setLevel(logging.ERROR)
    packages = ("tensorboard", "wandb", "pulsegrad")
    return [name for name in packages if importlib.util.find_spec(name) is None]
