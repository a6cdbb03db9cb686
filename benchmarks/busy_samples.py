"""How many full samples a run keeps on an idle and on a busy machine: they should be as many.

Each training runs in a process of its own, so that imports and first allocations count as they do
for a user: alone, and beside busy processes that this script starts. `python
benchmarks/busy_samples.py --busy 8 --repeats 3`; on a machine that others use, an administrator
gives the lone trainings the right of way by `--idle-niceness -19`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from telemetry import TelemetryCallback
from telemetry.capture.demo.training import Experiment, read_digits, train
from telemetry.format.step_flags import StepFlag

BUSY = "while True: pass"


def demo(store: Path) -> None:
    """The convolutional network of `telemetry demo`, 300 steps."""
    train(Experiment(name="demo", steps=300), read_digits(), store, lambda _: None)


def perceptron(store: Path) -> None:
    """Three linear layers, 6,000 steps of less than a millisecond, length unknown."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
    )
    _train(model, torch.randn(64, 32), store, n_steps=6000)


def convolutions(store: Path) -> None:
    """Two convolutions on small images, 150 steps of some ten milliseconds."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    _train(model, torch.randn(64, 3, 32, 32), store, n_steps=150)


def transformer(store: Path) -> None:
    """A transformer encoder of two layers, 200 steps of some ten milliseconds."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, dim_feedforward=64, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(16 * 32, 4))
    _train(model, torch.randn(16, 16, 32), store, n_steps=200)


TRAININGS: dict[str, Callable[[Path], None]] = {
    training.__name__: training for training in (demo, perceptron, convolutions, transformer)
}


def _train(model: nn.Module, inputs: Tensor, store: Path, *, n_steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    targets = torch.randint(4, (len(inputs),))
    with TelemetryCallback(model, optimizer, store=store) as telemetry:
        for _ in range(n_steps):
            loss = nn.functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)


def n_sampled(store: Path) -> int:
    """Full samples of the one run in a store."""
    tables = [pq.read_table(path, columns=["flags"]) for path in store.rglob("steps/**/*.parquet")]
    flags = [int(flag) for table in tables for flag in table.column("flags").to_pylist()]
    return sum(bool(flag & StepFlag.SAMPLED) for flag in flags)


@contextmanager
def busy(n_processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    command = [sys.executable, "-c", BUSY]
    started = [subprocess.Popen(command) for _ in range(n_processes)]  # noqa: S603 - ours
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def count(name: str, *, niceness: int) -> int:
    """Samples of one training in a new process."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, __file__, "--train", name, "--store", store]
        command += ["--niceness", str(niceness)]
        environment = {**os.environ, "TELEMETRY_COMPACT": "off"}
        subprocess.run(command, check=True, env=environment)  # noqa: S603 - ours
        return n_sampled(Path(store))


def main() -> None:
    """Count, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, default=8, help="busy processes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=sorted(TRAININGS), action="append")
    parser.add_argument("--idle-niceness", type=int, default=0, help="of the lone trainings")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--train", choices=sorted(TRAININGS), help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--niceness", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        os.nice(options.niceness)
        torch.set_num_threads(1)
        TRAININGS[options.train](options.store)
        return
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"| training | alone | beside {options.busy} busy processes | ratio of the medians |")
    print("|---|---|---|---|")
    found: dict[str, dict[str, list[int]]] = {}
    for name in options.only or TRAININGS:
        alone: list[int] = []
        beside: list[int] = []
        for _ in range(options.repeats):
            alone.append(count(name, niceness=options.idle_niceness))
            with busy(options.busy):
                beside.append(count(name, niceness=0))
        ratio = statistics.median(beside) / max(statistics.median(alone), 1)
        cells = (", ".join(map(str, numbers)) for numbers in (alone, beside))
        print(f"| {name} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)
        found[name] = {"alone": alone, "beside": beside}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
