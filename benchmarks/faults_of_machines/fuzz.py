"""Change files of a store at random, and see whether a command still answers, refuses, or breaks.

    python benchmarks/faults_of_machines/fuzz.py [--mutations 900] [--seed 0]

Each mutation changes one file of a small store: a manifest (bits, length, single fields of
another type), a shard (bits, length, zeros, the shard of another table, a column of another
type), or what stands in its place (a folder, a link to /dev/zero, a pipe). Then one command runs
over the store. It answers (exit code 0, 1 or 3), refuses with a sentence (2), or fails: a defect
is announced, it takes longer than 20 s or 8 GB, or rows of a changed shard are shown without a
warning. Prints a table by kind of change; the exit code is 1 if anything failed.
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
from pathlib import Path
from types import FrameType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from telemetry.cli.main import run
from telemetry.format.manifest import Attempt, Manifest, Status, utc_now, write_manifest
from telemetry.format.runs import new_shard_name, run_folder
from telemetry.format.shards import table_folder, write_shard
from telemetry.format.tables import table

LIMIT_S = 20
LIMIT_BYTES = 8 * 1024**3  # of address space: a file that never ends is not read to its end
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
        write_manifest(folder, _manifest(run_id))


def _manifest(run_id: str) -> Manifest:
    now = utc_now()
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


def outcome(store: Path, command: tuple[str, ...]) -> tuple[str, str, str]:
    """(`answered`, `refused` or `failed`, its output, what it said)."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with within(LIMIT_S), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["--store", str(store), *command])
    except TimeoutError:
        return "failed", out.getvalue(), f"longer than {LIMIT_S} s"
    except BaseException as error:  # noqa: BLE001 - what gets through is what is looked for
        return "failed", out.getvalue(), f"{type(error).__name__}: {error}"
    said = err.getvalue()
    if "defect" in said or "Traceback" in said:
        return "failed", out.getvalue(), said
    return ("refused" if code == 2 else "answered"), out.getvalue(), said


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
        expected = {command: outcome(sound, command)[1] for command in COMMANDS}
        for number in range(given.mutations):
            shutil.rmtree(changed, ignore_errors=True)
            shutil.copytree(sound, changed)
            kind = generator.choice(sorted(CHANGES))
            files = changed.glob("*/*/run.json" if kind == "run.json" else "*/*/steps/*/*.parquet")
            change = generator.choice(CHANGES[kind])
            change(generator.choice(sorted(files)), generator)
            command = generator.choice(COMMANDS)
            found, out, said = outcome(changed, command)
            is_rows = command[0] == "query" and "steps" in command[1]
            if found == "answered" and kind == "shard" and is_rows and not said:
                found = "answered" if out == expected[command] else "failed"
                said = said or "rows differ without a warning"
            table_of[f"{kind}: {change.__name__}"][found] += 1
            if found == "failed":
                lines = said.strip().splitlines() or [""]
                failures.append(f"{number} {kind} {change.__name__} {command[0]}: {lines[-1]}")
    print(f"{'change':<28} answered  refused  failed")
    for name, counts in sorted(table_of.items()):
        numbers = (counts["answered"], counts["refused"], counts["failed"])
        print(f"{name:<28} {numbers[0]:>8}  {numbers[1]:>7}  {numbers[2]:>6}")
    print(f"{given.mutations} mutations, {len(failures)} failed")
    for failure in failures[:40]:
        print(failure[:200])
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
