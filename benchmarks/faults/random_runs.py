"""False alarms on healthy runs of kinds that no rule was made for.

`python benchmarks/faults/random_runs.py --first 0 --count 100`: draws set-ups (task, architecture,
optimizer, schedule, batch, reduction, precision, clipping, initialisation), trains each with the
callback's defaults, and counts warnings and errors on those that have learnt.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

os.environ["TELEMETRY_COMPACT"] = "off"
sys.path.insert(0, str(Path(__file__).parent))

import torch
from setups import Setup, drawn
from torch import nn

from telemetry import TelemetryCallback
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Severity
from telemetry.store.store import Store

Z_95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run: how far it came, and what was said of it."""

    seed: int
    score: float
    has_learnt: bool
    alarms: tuple[str, ...]
    words: str
    seconds: float


def trained(setup: Setup, store: Path, seed: int) -> float:
    """Train and record; returns the score at the end."""
    torch.manual_seed(seed + 1)
    generator = torch.Generator().manual_seed(seed)
    model, optimizer, task = setup.model, setup.optimizer, setup.task
    score = 0.0
    with TelemetryCallback(model, optimizer, store=store) as telemetry:
        for index, (x, y) in enumerate(setup.batches(generator)):
            with setup.precision():
                loss = task.loss_of(model(x).float(), y, setup.reduction) / setup.accumulate
            loss.backward()
            if (index + 1) % setup.accumulate:
                telemetry.step(loss=loss * setup.accumulate)
                continue
            if setup.clip == "norm":
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            elif setup.clip == "value":
                nn.utils.clip_grad_value_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
            if setup.scheduler is not None:
                setup.scheduler.step()
            telemetry.step(loss=loss * setup.accumulate)
            step = (index + 1) // setup.accumulate
            if step % 50 == 0 or step == setup.steps:
                model.eval()
                with torch.no_grad():
                    out = model(task.data.val_x)
                    score = task.score(out, task.data.val_y)
                    val_loss = task.loss_of(out, task.data.val_y, "mean")
                model.train()
                telemetry.log(val_loss=float(val_loss), val_score=score)
    return score


def run(seed: int, folder: Path) -> Outcome:
    """Train and diagnose the set-up of a seed."""
    started = time.perf_counter()
    setup = drawn(seed)
    store = folder / str(seed)
    score = trained(setup, store, seed)
    opened = Store.open(store)
    diagnosis = diagnose_run(opened, opened.runs()[0])
    return Outcome(
        seed=seed,
        score=score,
        has_learnt=math.isfinite(score) and score >= setup.task.learnt,
        alarms=tuple(f.detector for f in diagnosis.findings if f.severity is not Severity.INFO),
        words=setup.words,
        seconds=time.perf_counter() - started,
    )


def wilson(n_hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    if not n:
        return 0.0, 1.0
    share = n_hits / n
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    spread = Z_95 / (1 + Z_95**2 / n)
    spread *= math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    return max(0.0, centre - spread), min(1.0, centre + spread)


def main() -> None:
    """Run the seeds asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.first, given.first + given.count):
            outcome = run(seed, Path(folder))
            outcomes.append(outcome)
            verdict = "learnt" if outcome.has_learnt else "not learnt"
            print(
                f"{outcome.seed:5} {verdict:10} {outcome.score:6.3f} {outcome.seconds:5.1f}s "
                f"{outcome.words} {' '.join(outcome.alarms)}",
                flush=True,
            )
    healthy = [outcome for outcome in outcomes if outcome.has_learnt]
    flagged = [outcome for outcome in healthy if outcome.alarms]
    low, high = wilson(len(flagged), len(healthy))
    print(
        f"{len(flagged)} of {len(healthy)} runs that learnt have a warning or an error "
        f"({low:.1%} to {high:.1%}); {len(outcomes) - len(healthy)} did not learn"
    )
    for detector, count in Counter(a for o in flagged for a in o.alarms).most_common():
        print(f"  {count:3} {detector}")


if __name__ == "__main__":
    main()
