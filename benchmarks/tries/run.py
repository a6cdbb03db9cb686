"""How often the best remedy of the battery is the true one, and a confirmed one a false one.

`python benchmarks/tries/run.py --short --first 100 --minutes 60 --out tries.jsonl`: goes through
the seeds of the random set-ups (benchmarks/faults/random_setups) and the published cases in a
mixture that is fixed beforehand, so that whatever is done when the time is over is a sample: of six
subjects three have a fault that the battery has a remedy for, one has another fault, one has none,
one is a published case. Each is recorded as a script and tried as `telemetry try --all` does.
`--summary` prints the table of such a file.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
os.environ["TELEMETRY_COMPACT"] = "off"

from random_setups.injections import INJECTIONS, drawn_injection
from random_setups.more_injections import any_injection, short_injections
from random_setups.setups import drawn
from random_setups.short_setups import drawn_short
from remedied import INJECTED, PARTLY, PUBLISHED
from summary import table

from telemetry.errors import TelemetryError
from telemetry.store.store import Store
from telemetry.trials.result import Tries
from telemetry.trials.try_run import try_remedies

HEALTHY = "healthy"
MIXTURE = ("remedied", "remedied", "other", "remedied", HEALTHY, "published")
SUFFERS = 0.05  # as in random_runs.py
OVERFIT = 1.5


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One training to try remedies on.

    Attributes:
        kind: One of MIXTURE.
        name: Of the fault or of the case.
        seed: Of a random set-up; None of a published case.
        short: Of the family of short set-ups.
    """

    kind: str
    name: str
    seed: int | None = None
    short: bool = False

    @property
    def true(self) -> frozenset[str]:
        """Doses that undo the fault."""
        if self.kind == HEALTHY:
            return frozenset()
        return frozenset(PUBLISHED.get(self.name, ()) or INJECTED.get(self.name, ()))

    @property
    def partly(self) -> frozenset[str]:
        """Doses that go the right way, not far enough."""
        return frozenset() if self.kind == HEALTHY else frozenset(PARTLY.get(self.name, ()))

    def words(self, store: Path, *, healthy: bool) -> list[str]:
        """The command line that trains it."""
        if self.seed is None:
            return [sys.executable, "train_published.py", self.name, "--store", str(store)]
        words = [sys.executable, "train.py", "--seed", str(self.seed), "--store", str(store)]
        return [*words, *(["--short"] if self.short else []), *(["--healthy"] if healthy else [])]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a recording took, and what the training reached."""

    seconds: float
    score: float = 0.0
    val_losses: tuple[float, ...] = ()

    @property
    def overfits(self) -> bool:
        """It has lost again what it knew of new data."""
        losses = self.val_losses
        return len(losses) > 1 and min(losses) > 0 and losses[-1] >= OVERFIT * min(losses)


def subjects(first: int, *, short: bool) -> Iterator[Subject]:
    """In the order of MIXTURE; random ones by their seeds, published ones by hashes of names."""
    of_kind = {kind: _random(first, kind, short=short) for kind in set(MIXTURE)}
    by_hash = sorted(PUBLISHED, key=lambda name: blake2b(name.encode()).digest())
    of_kind["published"] = iter([Subject(kind="published", name=name) for name in by_hash])
    while True:
        for kind in MIXTURE:
            found = next(of_kind[kind], None)
            if found is not None:
                yield found


def _random(first: int, kind: str, *, short: bool) -> Iterator[Subject]:
    seed = first
    while True:
        setup = drawn_short(seed) if short else drawn(seed)
        among = short_injections(setup, seed) if short else INJECTIONS
        name = drawn_injection(setup, seed, among)[0].name
        if kind == HEALTHY or (name in INJECTED) == (kind == "remedied"):
            name = HEALTHY if kind == HEALTHY else name
            yield Subject(kind=kind, name=name, seed=seed, short=short)
        seed += 1


def recorded(subject: Subject, store: Path, *, healthy: bool = False) -> Recorded:
    """Train it as a process, as its user would."""
    started = time.perf_counter()
    here = Path(__file__).parent
    words = subject.words(store, healthy=healthy or subject.kind == HEALTHY)
    done = subprocess.run(words, cwd=here, check=False, capture_output=True, text=True)  # noqa: S603 - ours
    seconds = time.perf_counter() - started
    if subject.seed is None:
        return Recorded(seconds=seconds)
    last = (done.stdout.strip().splitlines() or ["{}"])[-1]
    reached = json.loads(last) if last.startswith("{") else {}
    losses = tuple(reached.get("val_losses", ()))
    return Recorded(seconds=seconds, score=reached.get("score", float("-inf")), val_losses=losses)


def why_not(subject: Subject, folder: Path, found: Recorded) -> str | None:
    """Why a set-up does not count: it has not learnt without the fault, or that does no harm."""
    if subject.seed is None:
        return None
    healthy = subject.kind == HEALTHY
    twin = found if healthy else recorded(subject, folder / "twin", healthy=True)
    setup = drawn_short(subject.seed) if subject.short else drawn(subject.seed)
    if twin.score < setup.task.learnt or twin.overfits:
        return "its healthy version has not learnt, or overfits"
    if healthy or any_injection(subject.name).always_wrong:
        return None
    return "the fault does no harm" if found.score >= twin.score - SUFFERS else None


def tried(subject: Subject, folder: Path, *, seeds: int, jobs: int) -> dict[str, object]:
    """Record a subject and try the battery on it."""
    known: dict[str, object] = {"kind": subject.kind, "name": subject.name, "seed": subject.seed}
    found = recorded(subject, folder / "store")
    skipped = why_not(subject, folder, found)
    if skipped is not None:
        return {**known, "skipped": skipped}
    started = time.perf_counter()
    try:
        store = Store.open(folder / "store")
        tries = try_remedies(
            store, store.select("latest"), everything=True, seeds=seeds, jobs=jobs, in_place=True
        )
    except TelemetryError as error:
        return {**known, "error": str(error)}
    cost = (time.perf_counter() - started) / found.seconds
    return {**known, "recorded_s": found.seconds, "cost": cost, **described(subject, tries)}


def described(subject: Subject, tries: Tries) -> dict[str, object]:
    """What an experiment has said, held against the truth."""
    confirmed = [one for one in tries.tried if one.is_confirmed]
    answers = [one.dose for one in confirmed if one.answers_finding]
    first = confirmed[0].dose if confirmed else None
    allowed = subject.true | subject.partly
    return {
        "replayed": tries.is_replayed,
        "steps": tries.steps,
        "first": first,
        "first_answers": first in answers,
        "true": sorted(subject.true),
        "true_first": first in subject.true,
        "true_confirmed": sorted(subject.true & {one.dose for one in confirmed}),
        "answers": answers,
        "false_answers": sorted(set(answers) - allowed),
        "confirmed": {one.dose: one.gain for one in confirmed},
        "asked": {one.dose: one.treats for one in tries.tried if one.treats is not None},
        "gone": {one.dose: one.finding_gone for one in tries.tried if one.treats is not None},
        "outcomes": {one.dose: str(one.outcome) for one in tries.tried},
    }


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(given: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Work until the time is over."""
    ends = time.monotonic() + 60 * given.minutes
    for subject in subjects(given.first, short=given.short):
        if time.monotonic() > ends:
            return
        with tempfile.TemporaryDirectory() as folder:
            yield tried(subject, Path(folder), seeds=given.seeds, jobs=given.jobs)


def main(arguments: Sequence[str] | None = None) -> None:
    """One line of JSON a subject, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--short", action="store_true", help="of the family of short set-ups")
    parser.add_argument("--minutes", type=float, default=60, help="begins nothing afterwards")
    parser.add_argument("--seeds", type=int, default=1, help="pairs of replays")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="run nothing, print the table")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    if not given.summary:
        for line in run(given):
            with given.out.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
    print(table(_lines(given.out)))


if __name__ == "__main__":
    main()
