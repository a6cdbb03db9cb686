"""What one sample costs: against reading all parameters once, and in the training of three models.

The first table samples the gradients, weights, updates and optimizer state of models of 10^4 to
10^9 parameters, for as long as memory allows, and holds the cost against one read (a sum) of all
gradients and weights. The second trains the workloads with everything that is recorded.

All is processor time, which hardly depends on what else the machine does: of the training thread,
and of all threads, the writer's rows included. Torch uses one thread unless OMP_NUM_THREADS
says otherwise.
`python benchmarks/sample_cost.py --largest 1e8 --workload mlp --blocks 5 --steps 100`
"""

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from workloads import WORKLOADS, Workload

from telemetry import TelemetryCallback
from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.parameters.observer import SampledParameters
from telemetry.capture.parameters.statistic import parameter_statistics

WARMUP_STEPS = 3
NEVER = 10**9  # steps between samples: step 0 alone is sampled
BYTES_PER_PARAMETER = 16  # weight, gradient and two moments in float32
N_LAYERS = (2, 32)  # few large tensors, many small ones


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCost:
    """Processor seconds, medians.

    Attributes:
        n_parameters: Elements of all parameters.
        n_tensors: Parameters.
        read_s: One sum over each gradient and weight.
        training_s: Both halves of a sample, on the training thread.
        rows_s: What the writer thread makes of it.
    """

    n_parameters: int
    n_tensors: int
    read_s: float
    training_s: float
    rows_s: float


def cost_of_model(n_parameters: int, n_layers: int, n_samples: int) -> SampleCost:
    """Cost of sampling square linear layers that AdamW trains."""
    width = max(int((n_parameters / n_layers) ** 0.5), 1)
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(width, width) for _ in range(n_layers)))
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter).mul_(1e-3)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, foreach=False)
    catalogue = Catalogue(model, [optimizer])
    sampled = SampledParameters(optimizer, catalogue, parameter_statistics())
    sampled.follow([(parameter, 0) for parameter in parameters])
    read, training, rows = [], [], []
    for step in range(n_samples + 1):
        read.append(spent_s(lambda: read_once(parameters)))
        with torch.no_grad():
            before_s = spent_s(lambda step=step: sampled.begin(step, None))
            optimizer.step()
            started_s = time.thread_time()
            packet = sampled.end(step)
            training.append(before_s + time.thread_time() - started_s)
        rows.append(spent_s(lambda packet=packet: list(packet.rows())))
    return SampleCost(
        n_parameters=sum(parameter.numel() for parameter in parameters),
        n_tensors=len(parameters),
        read_s=statistics.median(read[1:]),
        training_s=statistics.median(training[1:]),
        rows_s=statistics.median(rows[1:]),
    )


def read_once(parameters: Sequence[Tensor]) -> None:
    """Read all gradients and weights."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.grad.sum()
            parameter.sum()


def spent_s(function: Callable[[], object]) -> float:
    """Processor seconds of this thread."""
    started_s = time.thread_time()
    function()
    return time.thread_time() - started_s


def free_bytes() -> int:
    """Memory that is free."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def print_models(largest: float) -> None:
    """A Markdown table of models of 10^4 parameters and more."""
    print("| parameters | tensors | one read | sample, training thread | reads | all | reads |")
    print("|---|---|---|---|---|---|---|")
    n_parameters = 10**4
    while n_parameters <= largest and 2 * BYTES_PER_PARAMETER * n_parameters < free_bytes():
        for n_layers in N_LAYERS:
            cost = cost_of_model(n_parameters, n_layers, 30 if n_parameters < 10**8 else 5)
            whole_s = cost.training_s + cost.rows_s
            print(
                f"| {cost.n_parameters:,} | {cost.n_tensors} | {1e3 * cost.read_s:.3f} ms "
                f"| {1e3 * cost.training_s:.2f} ms | {cost.training_s / cost.read_s:.2f} "
                f"| {1e3 * whole_s:.2f} ms | {whole_s / cost.read_s:.2f} |",
                flush=True,
            )
            gc.collect()
        n_parameters *= 10
    print()


# --- in training ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """Processor seconds of a step: of the training thread, and of all threads."""

    thread_s: float
    process_s: float


def plain_step(workload: Workload, n_steps: int) -> StepCost:
    """A step without telemetry."""
    return _timed(workload.step, n_steps)


def recorded_step(workload: Workload, n_steps: int, every: int, store: Path) -> StepCost:
    """A step with telemetry, sampled or not; what is written at the end counts for all threads."""
    with TelemetryCallback(
        workload.model, workload.optimizer, store=store, every=every, overhead_budget=None
    ) as telemetry:

        def step() -> None:
            telemetry.step(loss=workload.step())

        for _ in range(WARMUP_STEPS):
            step()
        started_s = time.process_time()
        cost = _timed(step, n_steps)
    process_s = (time.process_time() - started_s) / n_steps
    return StepCost(thread_s=cost.thread_s, process_s=process_s)


def _timed(step: Callable[[], object], n_steps: int) -> StepCost:
    thread_s, process_s = time.thread_time(), time.process_time()
    for _ in range(n_steps):
        step()
    return StepCost(
        thread_s=(time.thread_time() - thread_s) / n_steps,
        process_s=(time.process_time() - process_s) / n_steps,
    )


def print_workload(workload: Workload, n_blocks: int, n_steps: int) -> None:
    """A row of the table of workloads."""
    plain_step(workload, WARMUP_STEPS)
    plain, sampled, between = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(n_blocks):
            plain.append(plain_step(workload, n_steps))
            sampled.append(recorded_step(workload, n_steps, 1, Path(folder)))
            between.append(recorded_step(workload, n_steps, NEVER, Path(folder)))
    step_s = statistics.median(cost.thread_s for cost in plain)
    step_process_s = statistics.median(cost.process_s for cost in plain)
    sample_s = statistics.median(cost.thread_s for cost in sampled) - step_s
    all_s = statistics.median(cost.process_s for cost in sampled) - step_process_s
    between_s = statistics.median(cost.thread_s for cost in between) - step_s
    print(
        f"| {workload.name} | {1e3 * step_s:.2f} ms | {1e3 * sample_s:.2f} ms "
        f"| {1e3 * all_s:.2f} ms | {sample_s / (10 * step_s):.1%} | {1e6 * between_s:.0f} us |",
        flush=True,
    )


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=float, default=1e9, help="parameters; 0: no such table")
    parser.add_argument("--workload", choices=[*sorted(WORKLOADS), "none"], action="append")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    os.environ["TELEMETRY_COMPACT"] = "off"
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if options.largest:
        print_models(options.largest)
    names = [name for name in options.workload or sorted(WORKLOADS) if name != "none"]
    if names:
        print("| workload | step | one sample | all threads | each tenth step | between samples |")
        print("|---|---|---|---|---|---|")
    for name in names:
        print_workload(WORKLOADS[name](), options.blocks, options.steps)


if __name__ == "__main__":
    main()
