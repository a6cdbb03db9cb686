"""Memory that recording adds: what torch allocates at its peak, and the process as a whole.

Each workload trains for a few sampled steps, without and with the callback, in processes of their
own. `tensors` is the highest number of bytes that torch held at once, from the allocations that its
profiler lists; the target is at most twice the sample buffers, which hold the samples of weights,
gradients, updates and moments. `process` is the peak of the resident set, which also holds the
libraries that recording loads, pyarrow above all, what the writer thread encodes, and holes between
tensors of training. `python benchmarks/memory.py --workload gpt`
"""

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from workloads import WORKLOADS, Workload

from telemetry import TelemetryCallback
from telemetry.capture.tensors.sample_plan import Buffer

N_STEPS = 6
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Highest values of a training, in bytes; `buffers` of a training with the callback."""

    tensors: int
    process: int
    buffers: int


def wide() -> Workload:
    """Eight large matrices, 33.6 M parameters: most elements are not sampled."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(2_048, 2_048) for _ in range(8)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    inputs = torch.randn(16, 2_048)

    def step() -> Tensor:
        loss = model(inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Workload(name="wide-34M", model=model, optimizer=optimizer, step=step)


MODELS: dict[str, Callable[[], Workload]] = {**WORKLOADS, "wide": wide}


def train(workload: Workload, store: Path | None) -> int:
    """A few steps; returns the bytes of the sample buffers."""
    if store is None:
        for _ in range(N_STEPS):
            workload.step()
        return 0
    with TelemetryCallback(
        workload.model, workload.optimizer, store=store, every=1, overhead_budget=None
    ) as telemetry:
        for _ in range(N_STEPS):
            telemetry.step(loss=workload.step())
        # By type alone: asking some objects more than that makes torch warn.
        found = [thing for thing in gc.get_objects() if type(thing) is Buffer]
        return sum(buffer.rows.nbytes for buffer in found)


def peak_of(name: str, *, is_recorded: bool) -> Peak:
    """The peaks of a training in this process, which must be fresh."""
    workload = MODELS[name]()
    workload.step()  # gradients and optimizer state are there without telemetry as well
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) if is_recorded else None
        buffers = train(workload, store)
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with torch.autograd.profiler.profile(profile_memory=True) as profile:
            train(workload, store)
    live = highest = 0
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        highest = max(highest, live)
    return Peak(tensors=highest, process=process, buffers=buffers)


def peak_in_child(name: str, *, is_recorded: bool) -> Peak:
    """The same in a new process."""
    command = [sys.executable, __file__, "--child", "recorded" if is_recorded else "plain"]
    result = subprocess.run(  # noqa: S603 - this script
        [*command, "--workload", name], capture_output=True, text=True, check=True
    )
    return Peak(**json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", choices=sorted(MODELS), action="append")
    parser.add_argument("--child", choices=("plain", "recorded"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["TELEMETRY_COMPACT"] = "off"
    names = options.workload or sorted(MODELS)
    if options.child:
        print(json.dumps(asdict(peak_of(names[0], is_recorded=options.child == "recorded"))))
        return
    print("| workload | sample buffers | tensors added | times the buffers | process added |")
    print("|---|---|---|---|---|")
    for name in names:
        plain = peak_in_child(name, is_recorded=False)
        recorded = peak_in_child(name, is_recorded=True)
        added = recorded.tensors - plain.tensors
        print(
            f"| {name} | {recorded.buffers / MIB:.1f} MiB | {added / MIB:.1f} MiB "
            f"| {added / recorded.buffers:.2f} "
            f"| {(recorded.process - plain.process) / MIB:.0f} MiB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
