"""What recording costs a training loop: paired ratios in one process.

Blocks of steps with and without the callback alternate on the same model, so that what slows the
machine slows both. The median of the ratios is reported with its quartiles, on the clock and, less
noisy, in processor time of the training thread (which leaves out waiting for the writer).
Attaching, closing and the first steps are not timed, for they happen once a run. Two ways to
record:

* `defaults`: the governor at 1 %, without the allowance that lets a short run be fully observed;
* `every-10`: all statistics with histograms each tenth step, governor off.

`python benchmarks/overhead.py --workload mlp --pairs 20 --block-s 2`
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from workloads import WORKLOADS, Workload

from telemetry import TelemetryCallback

WARMUP_STEPS = 20
CADENCE = 10
MODES = ("defaults", "every-10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Cost of one mode on one workload; shares of the time without the callback."""

    workload: str
    n_parameters: int
    mode: str
    step_ms: float
    overhead_median_share: float
    overhead_low_share: float
    overhead_high_share: float
    thread_overhead_share: float
    n_pairs: int
    steps_per_block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Seconds that a block of steps took: on the clock, and of the training thread's processor."""

    wall_s: float
    thread_s: float


def timed(loop: Callable[[], None]) -> Block:
    """Run a loop and time it."""
    wall_s, thread_s = time.perf_counter(), time.thread_time()
    loop()
    return Block(wall_s=time.perf_counter() - wall_s, thread_s=time.thread_time() - thread_s)


def attach(workload: Workload, mode: str, store: Path) -> TelemetryCallback:
    """A callback that records the workload in the given mode."""
    if mode == "defaults":
        return TelemetryCallback(
            workload.model, workload.optimizer, store=store, overhead_allowance_s=0.0
        )
    return TelemetryCallback(
        workload.model, workload.optimizer, store=store, every=CADENCE, overhead_budget=None
    )


def plain_block(workload: Workload, n_steps: int) -> Block:
    """A block of steps without telemetry."""

    def loop() -> None:
        for _ in range(n_steps):
            workload.step()

    return timed(loop)


def recorded_block(workload: Workload, n_steps: int, mode: str, store: Path) -> Block:
    """A block of steps with telemetry, after a few that are not timed."""

    def loop(n: int = n_steps) -> None:
        for _ in range(n):
            telemetry.step(loss=workload.step())

    with attach(workload, mode, store) as telemetry:
        loop(WARMUP_STEPS)
        return timed(loop)


def measure(workload: Workload, mode: str, *, n_pairs: int, block_s: float) -> Result:
    """Alternate blocks, each pair in the other order than the one before."""
    plain_block(workload, WARMUP_STEPS)
    step_s = plain_block(workload, WARMUP_STEPS).wall_s / WARMUP_STEPS
    n_steps = max(CADENCE, round(block_s / step_s / CADENCE) * CADENCE)
    plain: list[Block] = []
    recorded: list[Block] = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(n_pairs):
            if pair % 2:
                recorded.append(recorded_block(workload, n_steps, mode, Path(folder)))
                plain.append(plain_block(workload, n_steps))
            else:
                plain.append(plain_block(workload, n_steps))
                recorded.append(recorded_block(workload, n_steps, mode, Path(folder)))
    pairs = list(zip(recorded, plain, strict=True))
    low, median, high = statistics.quantiles([r.wall_s / p.wall_s - 1 for r, p in pairs], n=4)
    return Result(
        workload=workload.name,
        n_parameters=workload.n_parameters,
        mode=mode,
        step_ms=1e3 * statistics.median(p.wall_s for p in plain) / n_steps,
        overhead_median_share=median,
        overhead_low_share=low,
        overhead_high_share=high,
        thread_overhead_share=statistics.median(r.thread_s / p.thread_s - 1 for r, p in pairs),
        n_pairs=n_pairs,
        steps_per_block=n_steps,
    )


def machine() -> dict[str, str | int]:
    """What the numbers were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 0,
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Measure, print a Markdown table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", choices=sorted(WORKLOADS), action="append")
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--block-s", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ["TELEMETRY_COMPACT"] = "off"  # a child of the last block would slow the next one

    print("| workload | mode | step | overhead | quartiles | training thread | pairs x steps |")
    print("|---|---|---|---|---|---|---|")
    results: list[Result] = []
    for name in options.workload or sorted(WORKLOADS):
        for mode in options.mode or MODES:
            result = measure(
                WORKLOADS[name](), mode, n_pairs=options.pairs, block_s=options.block_s
            )
            results.append(result)
            print(
                f"| {result.workload} | {mode} | {result.step_ms:.2f} ms "
                f"| {result.overhead_median_share:+.1%} "
                f"| {result.overhead_low_share:+.1%} .. {result.overhead_high_share:+.1%} "
                f"| {result.thread_overhead_share:+.1%} "
                f"| {result.n_pairs} x {result.steps_per_block} |",
                flush=True,
            )
    if options.json:
        document = {"machine": machine(), "results": [asdict(result) for result in results]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
