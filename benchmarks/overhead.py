"""What recording costs a training loop: paired ratios in one process.

Blocks of steps with and without the recorder alternate on the same model, so that what slows the
machine slows both. The median of the ratios is reported with its quartiles, on the clock and, less
noisy, in processor time: of the training thread (which leaves out waiting for the writer) and of
the whole process (which leaves nothing out). Attaching, closing and the first steps are not timed,
for they happen once a run. `recorders.py` says what is recorded.

`python benchmarks/overhead.py --all` also measures TensorBoard, wandb, pulsegrad and plain norms,
those of them that are installed; `--workload mlp --pairs 20 --block-s 2` narrows it down.
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
from recorders import CADENCE, OTHERS, OURS, RECORDERS, missing
from workloads import WORKLOADS, Workload

WARMUP_STEPS = 20


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
    process_overhead_share: float
    n_pairs: int
    steps_per_block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Seconds that a block of steps took: on the clock, of its thread, of all threads."""

    wall_s: float
    thread_s: float
    process_s: float


def timed(loop: Callable[[], None]) -> Block:
    """Run a loop and time it."""
    wall_s, thread_s, process_s = time.perf_counter(), time.thread_time(), time.process_time()
    loop()
    return Block(
        wall_s=time.perf_counter() - wall_s,
        thread_s=time.thread_time() - thread_s,
        process_s=time.process_time() - process_s,
    )


def plain_block(workload: Workload, n_steps: int) -> Block:
    """A block of steps without telemetry."""

    def loop() -> None:
        for _ in range(n_steps):
            workload.step()

    return timed(loop)


def recorded_block(workload: Workload, n_steps: int, mode: str, store: Path) -> Block:
    """A block of steps with a recorder, after a few that are not timed."""
    with RECORDERS[mode](workload, store) as told:

        def loop(first: int, n: int) -> None:
            for step in range(first, first + n):
                told(step, workload.step())

        loop(0, WARMUP_STEPS)
        return timed(lambda: loop(WARMUP_STEPS, n_steps))


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
        process_overhead_share=statistics.median(r.process_s / p.process_s - 1 for r, p in pairs),
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
    parser.add_argument("--mode", choices=sorted(RECORDERS), action="append")
    parser.add_argument("--all", action="store_true", help="the other recorders as well")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--block-s", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ["TELEMETRY_COMPACT"] = "off"  # a child of the last block would slow the next one

    modes = options.mode or [*OURS, *(OTHERS if options.all else ())]
    for absent in set(missing()) & set(modes):
        print(f"{absent} is not installed: left out", flush=True)
        modes.remove(absent)
    print(
        "| workload | mode | step | overhead | quartiles | training thread | all threads "
        "| pairs x steps |"
    )
    print("|---|---|---|---|---|---|---|---|")
    results: list[Result] = []
    for name in options.workload or sorted(WORKLOADS):
        for mode in modes:
            result = measure(
                WORKLOADS[name](), mode, n_pairs=options.pairs, block_s=options.block_s
            )
            results.append(result)
            print(
                f"| {result.workload} | {mode} | {result.step_ms:.2f} ms "
                f"| {result.overhead_median_share:+.1%} "
                f"| {result.overhead_low_share:+.1%} .. {result.overhead_high_share:+.1%} "
                f"| {result.thread_overhead_share:+.1%} "
                f"| {result.process_overhead_share:+.1%} "
                f"| {result.n_pairs} x {result.steps_per_block} |",
                flush=True,
            )
    if options.json:
        document = {"machine": machine(), "results": [asdict(result) for result in results]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
