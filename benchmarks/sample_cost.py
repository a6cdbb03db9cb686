"""What one sample costs, and what a step between samples costs, in processor time.

Processor time of the training thread hardly depends on what else the machine does, so these numbers
can be compared from change to change where those of `overhead.py` are noisy. They leave out the
writer thread. `python benchmarks/sample_cost.py --workload mlp --blocks 5 --steps 100`
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from workloads import WORKLOADS, Workload

from telemetry import TelemetryCallback

WARMUP_STEPS = 3
NEVER = 10**9  # steps between samples: step 0 alone is sampled


def plain_step_s(workload: Workload, n_steps: int) -> float:
    """Processor seconds of a step without telemetry."""
    started_s = time.thread_time()
    for _ in range(n_steps):
        workload.step()
    return (time.thread_time() - started_s) / n_steps


def recorded_step_s(workload: Workload, n_steps: int, every: int, store: Path) -> float:
    """Processor seconds of a step with telemetry, sampled or not."""
    with TelemetryCallback(
        workload.model, workload.optimizer, store=store, every=every, overhead_budget=None
    ) as telemetry:
        for _ in range(WARMUP_STEPS):
            telemetry.step(loss=workload.step())
        started_s = time.thread_time()
        for _ in range(n_steps):
            telemetry.step(loss=workload.step())
        return (time.thread_time() - started_s) / n_steps


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", choices=sorted(WORKLOADS), action="append")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    os.environ["TELEMETRY_COMPACT"] = "off"

    print("| workload | step | one sample | share each tenth step | a step between samples |")
    print("|---|---|---|---|---|")
    for name in options.workload or sorted(WORKLOADS):
        workload = WORKLOADS[name]()
        plain_step_s(workload, WARMUP_STEPS)
        plain, sampled, between = [], [], []
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(options.blocks):
                plain.append(plain_step_s(workload, options.steps))
                sampled.append(recorded_step_s(workload, options.steps, 1, Path(folder)))
                between.append(recorded_step_s(workload, options.steps, NEVER, Path(folder)))
        step_s = statistics.median(plain)
        sample_s = statistics.median(sampled) - step_s
        between_s = statistics.median(between) - step_s
        print(
            f"| {workload.name} | {1e3 * step_s:.2f} ms | {1e3 * sample_s:.2f} ms "
            f"| {sample_s / (10 * step_s):.1%} | {1e6 * between_s:.0f} us |",
            flush=True,
        )


if __name__ == "__main__":
    main()
