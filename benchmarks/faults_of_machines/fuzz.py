"""Change files of a store at random, and see whether a command still answers, refuses, or breaks.

    python benchmarks/faults_of_machines/fuzz.py [--mutations 900] [--seed 0]

Each mutation changes one file of a small store: a manifest (bits, length, single fields of
another type), a shard (bits, length, zeros, the shard of another table, a column of another
type), or what stands in its place (a folder, a link to /dev/zero, a pipe). Then one command runs
over the store. It answers (exit code 0, 1 or 3) what it answers of the sound store, or otherwise
and says on stderr why, or otherwise and says nothing; it refuses with a sentence (2); or it fails:
a defect is announced, it takes longer than 20 s or 8 GB, or rows of a changed shard are shown
without a warning. Prints a table by kind of change; the exit code is 1 if anything failed.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from telemetry.cli.main import run
from telemetry.format.manifest import Attempt, Manifest, Status, utc_text, write_manifest
from telemetry.format.runs import new_shard_name, run_folder
from telemetry.format.shards import table_folder, write_shard
from telemetry.format.tables import table

LIMIT_S = 20
USAGE = 2  # exit code of what is refused
LIMIT_BYTES = 8 * 1024**3  # of address space: a file that never ends is not read to its end
SAME, TOLD, SILENT, REFUSED, FAILED = OUTCOMES = (
    *("as before", "with a warning", "otherwise, silently", "refused", "failed"),
)
COMMANDS = (
    ("runs",),
    ("show", "latest"),
    ("layers", "latest"),
    ("diagnose", "latest"),
    ("query", "SELECT run, step, loss FROM steps ORDER BY run, step"),
    ("query", "SELECT * FROM runs"),
    ("doctor", "--verify"),
    ("delete", "latest", "--dry-run"),
)
ODD_VALUES = (
    *(None, True, -1, 2**70, 1e400, float("nan"), "", "x" * 5000, "\x1b[31m", "\ud800"),
    *([], [1, [2]], {}, {"a": {"b": None}}),
)
START = datetime(2026, 1, 2, 3, 4, 0, tzinfo=UTC)  # as the ids say: `latest` goes by either
Change = Callable[[Path, random.Random], None]


def build(store: Path) -> None:
    """Two runs of some steps, evaluations and events."""
    generator = np.random.default_rng(0)
    for index in range(2):
        run_id = f"20260102-03040{index}-aaaaa{index}"
        folder = run_folder(store, "fuzz", run_id)
        folder.mkdir(parents=True)
        for first in (0, 50):
            steps = np.arange(first, first + 50)
            rows = {
                "step": steps,
                "attempt": pa.array([1] * 50, pa.int32()),
                "loss": generator.normal(1.0, 0.1, 50),
                "lr": np.full(50, 0.1),
                "flags": pa.array([1] * 50, pa.int32()),
            }
            name = new_shard_name(first=first, last=first + 49, attempt=1)
            write_shard(table_folder(folder, "steps", 0), table("steps"), pa.table(rows), name)
        metrics = {
            "step": [49, 99],
            "attempt": pa.array([1, 1], pa.int32()),
            "name": ["val_loss"] * 2,
            "phase": ["eval"] * 2,
            "value": [1.0, 0.5],
        }
        name = new_shard_name(first=0, last=99, attempt=1)
        write_shard(table_folder(folder, "metrics", 0), table("metrics"), pa.table(metrics), name)
        write_manifest(folder, _manifest(run_id, utc_text(START + timedelta(seconds=index))))


def _manifest(run_id: str, now: str) -> Manifest:
    return Manifest(
        run=run_id,
        project="fuzz",
        name="base",
        started=now,
        heartbeat=now,
        ended=now,
        status=Status.FINISHED,
        closed=True,
        tags=("a",),
        config={"lr": 0.1, "model.width": 3},
        total_steps=100,
        environment={"python": "3"},
        summary={"metrics": {"loss": {"last": 1.0, "best": 0.9, "best_step": 3}}, "steps": 100},
        attempts=(
            Attempt(
                attempt=1,
                start_step=0,
                last_step=99,
                started=now,
                ended=now,
                host="here",
                boot_id="b",
                pid=1,
                process_start=1,
                writer="fuzz",
                world_size=1,
            ),
        ),
    )


def flip(path: Path, generator: random.Random) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    bit = generator.randrange(8 * len(content))
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def cut(path: Path, generator: random.Random) -> None:
    """Only the beginning is left."""
    content = path.read_bytes()
    path.write_bytes(content[: generator.randrange(len(content))])


def zeros(path: Path, generator: random.Random) -> None:
    """A block of 64 bytes is empty."""
    content = bytearray(path.read_bytes())
    at = generator.randrange(len(content))
    content[at : at + 64] = bytes(len(content[at : at + 64]))
    path.write_bytes(content)


def folder_instead(path: Path, _generator: random.Random) -> None:
    """A folder of the same name."""
    path.unlink()
    path.mkdir()


def endless_instead(path: Path, _generator: random.Random) -> None:
    """A link to a device that never ends."""
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe_instead(path: Path, _generator: random.Random) -> None:
    """A pipe that nobody writes."""
    path.unlink()
    os.mkfifo(path)


def odd_field(path: Path, generator: random.Random) -> None:
    """A field of the manifest, or of something inside it, has another type or is gone."""
    document = json.loads(path.read_text())
    place = document
    key = generator.choice(sorted(place))
    while isinstance(place[key], dict) and place[key] and generator.random() < 0.6:
        place = place[key]
        key = generator.choice(sorted(place))
    if generator.random() < 0.2:
        del place[key]
    else:
        place[key] = generator.choice(ODD_VALUES)
    path.write_text(json.dumps(document))


def other_table(path: Path, _generator: random.Random) -> None:
    """The content of a shard of another table."""
    other = "metrics" if path.parents[1].name == "steps" else "steps"
    path.write_bytes(next((path.parents[2] / other).glob("*/*.parquet")).read_bytes())


def other_type(path: Path, generator: random.Random) -> None:
    """A column of the shard is text."""
    rows = pq.read_table(path)
    name = generator.choice(rows.column_names)
    place = rows.column_names.index(name)
    rows = rows.set_column(place, name, pa.array(["text"] * rows.num_rows))
    pq.write_table(rows, path)


def grown(path: Path, generator: random.Random) -> None:
    """Random bytes follow."""
    path.write_bytes(path.read_bytes() + generator.randbytes(100))


EVERY_FILE = (flip, cut, zeros, grown, folder_instead, endless_instead, pipe_instead)
CHANGES: dict[str, tuple[Change, ...]] = {
    "run.json": (*EVERY_FILE, odd_field, odd_field, odd_field, odd_field),
    "shard": (*EVERY_FILE, flip, flip, other_table, other_type),
}


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """TimeoutError after some seconds."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command did.

    Attributes:
        code: Its exit code, None where it did not end by itself.
        out: What it wrote.
        said: What it wrote to stderr, or why it did not end.
    """

    code: int | None
    out: str
    said: str

    @property
    def failed(self) -> bool:
        """Whether it broke."""
        return self.code is None or "defect" in self.said or "Traceback" in self.said


def asked(store: Path, command: tuple[str, ...]) -> Answer:
    """Run a command over a store."""
    out, err = io.StringIO(), io.StringIO()
    code: int | None = None
    try:
        with within(LIMIT_S), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["--store", str(store), *command])
    except TimeoutError:
        err.write(f"longer than {LIMIT_S} s")
    except BaseException as error:  # noqa: BLE001 - what gets through is what is looked for
        err.write(f"{type(error).__name__}: {error}")
    return Answer(code=code, out=out.getvalue(), said=err.getvalue())


def outcome(answer: Answer, sound: Answer, *, must_tell: bool) -> str:
    """Which of the outcomes an answer is, beside that of the sound store."""
    if answer.failed:
        return FAILED
    if answer.code == USAGE:
        return REFUSED
    if answer == sound:
        return SAME
    if answer.said not in {"", sound.said}:
        return TOLD
    return FAILED if must_tell else SILENT


def main() -> int:
    """Run the mutations and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    generator = random.Random(given.seed)  # noqa: S311 - changes at random, no secrets
    table_of: dict[str, Counter[str]] = defaultdict(Counter)
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        sound, changed = Path(folder, "sound"), Path(folder, "changed")
        build(sound)
        shutil.copytree(sound, changed)
        expected = {command: asked(changed, command) for command in COMMANDS}
        for number in range(given.mutations):
            shutil.rmtree(changed, ignore_errors=True)
            shutil.copytree(sound, changed)
            kind = generator.choice(sorted(CHANGES))
            files = changed.glob("*/*/run.json" if kind == "run.json" else "*/*/steps/*/*.parquet")
            change = generator.choice(CHANGES[kind])
            change(generator.choice(sorted(files)), generator)
            command = generator.choice(COMMANDS)
            answer = asked(changed, command)
            is_rows = kind == "shard" and command[0] == "query" and "steps" in command[1]
            found = outcome(answer, expected[command], must_tell=is_rows)
            table_of[f"{kind}: {change.__name__}"][found] += 1
            if found == FAILED:
                lines = answer.said.strip().splitlines() or ["rows differ without a warning"]
                failures.append(f"{number} {kind} {change.__name__} {command[0]}: {lines[-1]}")
    print("| change | " + " | ".join(OUTCOMES) + " |\n|---|---|---|---|---|---|")
    for name, counts in sorted(table_of.items()):
        print(f"| {name} | " + " | ".join(str(counts[found]) for found in OUTCOMES) + " |")
    print(f"{given.mutations} mutations, {len(failures)} failed")
    for failure in failures[:40]:
        print(failure[:200])
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
