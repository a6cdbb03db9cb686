"""Child process of `telemetry demo`: trains the experiments and says how far it is.

`python -m telemetry.capture.demo --store DIR --json-progress` writes one JSON object a line:
`{"event": "plan", "runs", "steps"}`, `{"event": "steps", "done", "name"}` and, for each finished
run, `{"event": "run", "run", "name", "project", "tags"}`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

from telemetry.capture.demo.training import (
    SWEEP_PROJECT,
    Digits,
    Experiment,
    Hyperparameters,
    Network,
    read_digits,
    train,
)
from telemetry.json_values import Json

STEPS = 300
SWEEP_STEPS = 200
SEEDS = (0, 1, 2)
HEALTHY = Hyperparameters()
# A slip of two digits: it still trains, and generalises worse.
REGRESSED = Hyperparameters(weight_decay=100 * HEALTHY.weight_decay)
SWEEP_LEARNING_RATES = (1e-4, 1e-3, 1e-2, 1e-1)
SWEEP_WIDTHS = (4, 8, 16)

Report = Callable[[dict[str, Json]], None]


def experiments() -> list[Experiment]:
    """All runs of the demo as they are trained, one after the other; lists show the last first."""
    return [*_sweep(), _faulty(), *_seeds("pr-12", REGRESSED), *_seeds("main", HEALTHY)]


def _seeds(tag: str, settings: Hyperparameters) -> list[Experiment]:
    """The same convnet with several seeds, under the tag by which `diff` finds the group."""
    return [
        Experiment(
            name=f"{tag}-seed{seed}",
            steps=STEPS,
            tags=(tag,),
            settings=replace(settings, seed=seed),
        )
        for seed in SEEDS
    ]


def _faulty() -> Experiment:
    return Experiment(
        name="deep-sigmoid",
        steps=STEPS,
        tags=("faulty",),
        settings=Hyperparameters(network=Network.DEEP_SIGMOID, width=64, dropout=0.0),
    )


def _sweep() -> list[Experiment]:
    return [
        Experiment(
            name=f"lr{learning_rate:g}-w{width}",
            steps=SWEEP_STEPS,
            project=SWEEP_PROJECT,
            settings=Hyperparameters(learning_rate=learning_rate, width=width),
        )
        for learning_rate, width in product(SWEEP_LEARNING_RATES, SWEEP_WIDTHS)
    ]


def train_all(plan: Sequence[Experiment], digits: Digits, store: Path, report: Report) -> None:
    """Train every experiment into `store` and report each step of progress."""
    report({"event": "plan", "runs": len(plan), "steps": sum(each.steps for each in plan)})
    for experiment in plan:

        def on_steps(n_steps: int, name: str = experiment.name) -> None:
            report({"event": "steps", "done": n_steps, "name": name})

        run = train(experiment, digits, store, on_steps)
        report(
            {
                "event": "run",
                "run": run,
                "name": experiment.name,
                "project": experiment.project,
                "tags": list(experiment.tags),
            }
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry of the child process."""
    parser = argparse.ArgumentParser(prog="python -m telemetry.capture.demo")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--json-progress", action="store_true")
    options = parser.parse_args(arguments)

    def report(event: dict[str, Json]) -> None:
        if options.json_progress:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()

    torch.set_num_threads(1)  # layers this small only lose time when they are split
    train_all(experiments(), read_digits(), options.store, report)


if __name__ == "__main__":
    main()
