"""False alarms and found faults in training runs of kinds that no rule was made for.

`python benchmarks/faults/random_runs.py --first 0 --count 100`: draws set-ups (task, architecture,
optimizer, schedule, batch, reduction, precision, clipping, initialisation), trains each with the
callback's defaults, and counts warnings and errors on those that have learnt. With `--faults` each
set-up that has learnt is trained again with one fault (injections.py) that begins at a random step.
`--short` draws another family: 30 to 250 steps, small batches, losses written by hand, more
optimizers, loops and faults (short_setups.py, more_injections.py).
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

os.environ["TELEMETRY_COMPACT"] = "off"
sys.path.insert(0, str(Path(__file__).parent))

import torch
from pool import map_over
from random_setups.evidence import EVIDENCE, KINDS
from random_setups.injections import drawn_injection
from random_setups.more_injections import any_injection, short_injections
from random_setups.setups import Setup, drawn
from random_setups.short_setups import drawn_short
from random_setups.training import Options, trained
from scores import Judged, Planted, confusion, held_against, rate, rates, unchecked

from telemetry.diagnose.diagnose import diagnose_run
from telemetry.store.store import Store

HEALTHY = "healthy"
FACTS = "facts.json"  # of a kept run, beside its store
SUFFERS = 0.05  # a score lower by this than the healthy twin's: the fault hurts
OVERFIT = 1.5  # last over least validation loss
ON_TIME_SHARE = 0.2  # of the steps after the fault, in which it must be named ...
ON_TIME_STEPS = 60  # ... or in so many


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One run without its diagnosis: what was trained, what was planted, and how far it came.

    Attributes:
        seed: Of the set-up.
        fault: Name of the injection, or `healthy`.
        score: At the end.
        twin: Score of the same set-up without the fault; its own for a healthy one.
        learnt: Score that only a model that has learnt reaches.
        n_steps: Optimizer steps planned.
        at: Step of the fault.
        layers: Where it was planted; empty where that is no one place.
        val_losses: Of all evaluations.
        words: The set-up.
    """

    seed: int
    fault: str
    score: float
    twin: float
    learnt: float
    n_steps: int
    at: int = 0
    layers: tuple[str, ...] = ()
    val_losses: tuple[float, ...] = ()
    words: str

    @property
    def overfits(self) -> bool:
        """Learnt, and lost again what it knew of new data: not healthy, though nobody did it."""
        losses = self.val_losses
        return len(losses) > 1 and min(losses) > 0 and losses[-1] >= OVERFIT * min(losses)

    @property
    def counts(self) -> bool:
        """A healthy run that has learnt, or a fault that hurts or is one by definition."""
        if self.fault == HEALTHY:
            return self.score >= self.learnt or self.overfits
        return any_injection(self.fault).always_wrong or not self.score >= self.twin - SUFFERS

    @property
    def planted(self) -> Planted:
        """What a diagnosis is held against."""
        if self.fault == HEALTHY:
            return Planted(roots=("overfitting",)) if self.overfits else Planted()
        window = max(ON_TIME_STEPS, ON_TIME_SHARE * (self.n_steps - self.at))
        return Planted(
            roots=any_injection(self.fault).roots,
            layers=self.layers,
            by=self.at + int(window),
        )


def setup_of(seed: int, *, short: bool) -> Setup:
    """Of the family of short set-ups, or of the long ones."""
    return drawn_short(seed) if short else drawn(seed)


def healthy_run(seed: int, folder: Path, options: Options, *, short: bool) -> Facts:
    """Train the set-up of a seed."""
    setup = setup_of(seed, short=short)
    store = folder / f"{seed}-{HEALTHY}"
    score, running = trained(setup, store, seed, options=options)
    return _kept(
        Facts(
            seed=seed,
            fault=HEALTHY,
            score=score,
            twin=score,
            learnt=setup.task.learnt,
            n_steps=setup.steps,
            val_losses=tuple(running.val_losses),
            words=setup.words,
        ),
        store,
    )


def faulty_run(healthy: Facts, folder: Path, options: Options, *, short: bool) -> Facts:
    """Train the set-up again with the fault that is drawn for its seed."""
    setup = setup_of(healthy.seed, short=short)
    among = {"among": short_injections(setup, healthy.seed)} if short else {}
    fault, at, choose = drawn_injection(setup, healthy.seed, **among)
    store = folder / f"{healthy.seed}-{fault.name}"
    score, running = trained(
        setup,
        store,
        healthy.seed,
        plant=lambda running: fault.plant(running, choose),
        at=at,
        options=options,
    )
    facts = replace(
        healthy,
        fault=fault.name,
        score=score,
        at=at,
        layers=running.layers,
        val_losses=tuple(running.val_losses),
    )
    return _kept(facts, store)


def _kept(facts: Facts, store: Path) -> Facts:
    (store / FACTS).write_text(json.dumps(asdict(facts)))
    return facts


def judged(facts: Facts, folder: Path) -> Judged:
    """Diagnose a recorded run by the rules as they are now."""
    opened = Store.open(folder / f"{facts.seed}-{facts.fault}")
    return held_against(facts.planted, diagnose_run(opened, opened.runs()[0]))


def runs_of(
    seed: int, *, folder: Path, faults: bool, short: bool, options: Options
) -> list[tuple[Facts, Judged]]:
    """The healthy run of a seed, and a faulty one if it has learnt."""
    torch.set_num_threads(1)
    facts = [healthy_run(seed, folder, options, short=short)]
    if faults and facts[0].counts and not facts[0].overfits:
        facts.append(faulty_run(facts[0], folder, options, short=short))
    return [(entry, judged(entry, folder)) for entry in facts]


def read_facts(store: Path) -> Facts:
    """What is known of a kept run."""
    known = json.loads((store / FACTS).read_text())
    known = {key: tuple(v) if isinstance(v, list) else v for key, v in known.items()}
    return Facts(**known)


def runs_again(store: Path) -> list[tuple[Facts, Judged]]:
    """A kept run, judged again."""
    facts = read_facts(store)
    return [(facts, judged(facts, store.parent))]


def main() -> None:
    """Run the seeds asked for, or judge kept runs again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=100, help="seeds")
    parser.add_argument("--faults", action="store_true", help="plant a fault in each, too")
    parser.add_argument("--short", action="store_true", help="draw short set-ups (short_setups.py)")
    parser.add_argument("--every", type=int, help="sample every so many steps, without a budget")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, to be judged again")
    parser.add_argument("--rerun-rules", type=Path, help="judge the runs of such a folder anew")
    given = parser.parse_args()
    options: Options = {}
    if given.every:
        options = {"every": given.every, "overhead_budget": None}
    with tempfile.TemporaryDirectory() as temporary:
        if given.rerun_rules:
            stores = sorted(path.parent for path in given.rerun_rules.glob(f"*/{FACTS}"))
            outcomes = list(_shown(map_over(runs_again, stores, given.jobs)))
        else:
            work = partial(
                runs_of,
                folder=given.keep or Path(temporary),
                faults=given.faults,
                short=given.short,
                options=options,
            )
            seeds = range(given.first, given.first + given.count)
            outcomes = list(_shown(map_over(work, seeds, given.jobs)))
    summarise(outcomes)


def _shown(
    results: Iterator[list[tuple[Facts, Judged]]],
) -> Iterator[tuple[Facts, Judged]]:
    for result in results:
        for facts, outcome in result:
            print(_line(facts, outcome), flush=True)
            yield facts, outcome


def _line(facts: Facts, outcome: Judged) -> str:
    told = f"{outcome.named} {outcome.layer or ''} {outcome.step}"
    return (
        f"{facts.seed:5} {facts.fault:24} {'' if facts.counts else 'not counted: '}"
        f"{outcome.verdict:12} {facts.score:6.3f} of {facts.twin:5.3f} at {facts.at:3} {told:36} "
        f"{facts.words} | {' '.join(outcome.others)}"
    )


def _only_told(facts: Facts, outcome: Judged) -> bool:
    """An accepted cause is named, but as information."""
    told = {text[2:].partition("<")[0] for text in outcome.others if text.startswith("i:")}
    return not outcome.right and not told.isdisjoint(facts.planted.roots)


def summarise(outcomes: Sequence[tuple[Facts, Judged]]) -> None:
    """Rates, causes named, and what could not be checked."""
    counted = [(facts, outcome) for facts, outcome in outcomes if facts.counts]
    for name, text in rates([(facts.planted, outcome) for facts, outcome in counted]).items():
        print(f"{name:24} {text}")
    faulty = [(facts, outcome) for facts, outcome in counted if facts.fault != HEALTHY]
    for kind in KINDS:
        own = [outcome.right for facts, outcome in faulty if EVIDENCE[facts.fault] == kind]
        print(f"  shown by {kind:15} {rate(own)}")
    told = (_only_told(facts, outcome) for facts, outcome in faulty)
    print(f"{'as information only':24} {rate(told)}")
    harmless = [
        outcome for facts, outcome in outcomes if not facts.counts and facts.fault != HEALTHY
    ]
    print(f"{'named though harmless':24} {rate(o.right for o in harmless)}")
    unlearnt = sum(not facts.counts for facts, _ in outcomes if facts.fault == HEALTHY)
    print(f"{unlearnt} healthy set-ups did not learn and are not counted")
    print("\nplanted: named first")
    named = [
        ("overfits" if f.overfits and f.fault == HEALTHY else f.fault, o.named) for f, o in counted
    ]
    print("\n".join(confusion(named)))
    print("\nnot checked, share of the runs")
    print("\n".join(unchecked([outcome for _, outcome in counted])))


if __name__ == "__main__":
    main()
