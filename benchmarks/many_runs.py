"""What the verbs that read many runs cost, in processor time of all threads.

    python benchmarks/many_runs.py [--runs 2000] [--store DIR] [--against PYTHON] [--json FILE]

Three small trainings are recorded, merged and judged, one of them with a learning rate that is too
high. Their folders are repeated under other ids, each with a configuration, a curve and metrics of
its own, until there are as many runs as wanted. A store that is named is kept and used again.

Each verb is a process of its own. `cold` is the first one, without anything below `.telemetry`;
`warm` are the others. What it takes to start and to say the version is part of every figure, and
shown as one. With `--against`, the interpreter of another installation does the same in turns, so
that both meet the same load of the machine, with a store of its own: it may have other rules, and
would judge every run again.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from telemetry.format.manifest import Manifest, read_manifest, utc_text, write_manifest
from telemetry.format.runs import RunRef, parse_shard_name, run_folder
from telemetry.format.shards import DIGEST_BYTES, read_shard, table_folder, write_shard
from telemetry.format.tables import table
from telemetry.json_values import Json, json_object
from telemetry.store.files.folders import rank_folders
from telemetry.store.store import Store

PROJECT = "many"
RATES = (1e-3, 1e-2, 20.0)  # of the recorded trainings; the last one blows up
STEPS, CADENCE = 60, 10
WIDTHS = (32, 64, 128)
VERBS: dict[str, tuple[str, ...]] = {
    "version": ("--version",),
    "runs": ("runs",),
    "runs --all": ("runs", "--all"),
    "runs --json --all": ("--json", "runs", "--all"),
    "sweep": ("sweep", PROJECT),
    "show": ("show", "latest"),
    "layers": ("layers", "latest"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of processor time: of the first call, and the median and the range of the others."""

    verb: str
    python: str
    cold_s: float
    warm_s: float
    least_s: float
    most_s: float


def record(store: Path) -> list[Path]:
    """Folders of three trainings that have ended, are merged and judged."""
    import torch
    from torch import nn

    import telemetry

    os.environ["TELEMETRY_COMPACT"] = "wait"
    for seed, rate in enumerate(RATES):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        with telemetry.TelemetryCallback(
            model, optimizer, store=store, project=PROJECT, every=CADENCE, config={"lr": rate}
        ) as callback:
            for step in range(STEPS):
                inputs = torch.randn(32, 16)
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), inputs[:, :4].argmax(1))
                loss.backward()
                optimizer.step()
                callback.step(loss=loss)
                if step % CADENCE == CADENCE - 1:
                    value = loss.item()
                    callback.log(val_loss=value + 0.1, val_accuracy=1 / (1 + value))
    return [run.ref.path for run in Store.open(store).runs()]


def repeat(store: Path, templates: Sequence[Path], n_runs: int) -> None:
    """Write so many runs of other ids, configurations and values."""
    manifests = [read_manifest(template) for template in templates]
    for index in range(n_runs):
        generator = np.random.default_rng(index)
        template, manifest = templates[index % 3], manifests[index % 3]
        started = datetime.fromisoformat(manifest.started) + timedelta(minutes=index)
        run = f"{started:%Y%m%d-%H%M%S}-{index:06x}"
        folder = run_folder(store, PROJECT, run)
        shutil.copytree(template, folder, ignore=shutil.ignore_patterns("run.json"))
        factor = float(generator.uniform(0.5, 1.5))
        for name, column in (("steps", "loss"), ("metrics", "value")):
            _scale(folder, name, column, factor)
        write_manifest(folder, _renamed(folder, manifest, run, started, factor, generator))


def _renamed(
    folder: Path,
    manifest: Manifest,
    run: str,
    started: datetime,
    factor: float,
    generator: np.random.Generator,
) -> Manifest:
    config: dict[str, Json] = {
        **manifest.config,
        "width": int(generator.choice(WIDTHS)),
        "dropout": float(generator.uniform(0, 0.5)),
        "optimizer.betas": [0.9, float(generator.uniform(0.9, 0.999))],
        "optimizer.name": str(generator.choice(["sgd", "adam"])),
        "data.path": "/data/images/train",
        "seed": int(generator.integers(1_000)),
    }
    files = {
        name: [_entry(folder, dict(json_object(entry))) for entry in entries]
        for name, entries in manifest.files.items()
        if isinstance(entries, list)
    }
    metrics: dict[str, Json] = {}
    for name, numbers in json_object(manifest.summary["metrics"]).items():
        found = json_object(numbers)
        metrics[name] = {
            key: value * factor if isinstance(value, float) else value
            for key, value in found.items()
        }
    return replace(
        manifest,
        run=run,
        name=f"trial-{run[-6:]}",
        started=utc_text(started),
        config=config,
        files=files,
        summary={**manifest.summary, "metrics": metrics},
    )


def _scale(folder: Path, name: str, column: str, factor: float) -> None:
    """Multiply a column of the one shard of a table; its name stays."""
    ref = RunRef(project=PROJECT, run=folder.name, path=folder)
    (found,) = rank_folders(ref, name, print)
    (shard,) = found.names
    rows = read_shard(found.path / shard)
    place = rows.schema.get_field_index(column)
    values = pa.array(rows.column(column).to_numpy() * factor, type=rows.schema.field(place).type)
    (parsed,) = filter(None, [parse_shard_name(shard)])
    (found.path / shard).unlink()
    write_shard(
        table_folder(folder, name, 0),
        table(name),
        rows.set_column(place, rows.schema.field(place), values),
        parsed,
    )


def _entry(folder: Path, entry: dict[str, Json]) -> Json:
    content = (folder / str(entry["path"])).read_bytes()
    digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
    return {**entry, "bytes": len(content), "blake2b": digest}


def used_s(python: str, store: Path, arguments: Sequence[str]) -> float:
    """Processor time of one command, from the start of its process to its end."""
    actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    command = [python, "-m", "telemetry", "--store", str(store), *arguments]
    child = os.posix_spawn(python, command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status) > 1:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def measure(stores: Mapping[str, Path], verb: str, repeats: int) -> list[Cost]:
    """One verb by each installation in turns."""
    times: dict[str, list[float]] = {python: [] for python in stores}
    for turn in range(repeats + 1):
        for python, store in stores.items():
            if turn == 0:
                shutil.rmtree(store / ".telemetry", ignore_errors=True)
            times[python].append(used_s(python, store, VERBS[verb]))
    return [
        Cost(
            verb=verb,
            python=python,
            cold_s=found[0],
            warm_s=statistics.median(found[1:]),
            least_s=min(found[1:]),
            most_s=max(found[1:]),
        )
        for python, found in times.items()
    ]


def main() -> None:
    """Write the store where there is none, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--verb", action="append", choices=list(VERBS), help="else all")
    parser.add_argument("--store", type=Path, help="kept and used again; else a temporary folder")
    parser.add_argument("--against", metavar="PYTHON", help="of another installation")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store = (asked.store or Path(temporary) / "store").absolute()
        if not store.exists():
            repeat(store, record(Path(temporary) / "recorded"), asked.runs)
        report = asked.json.resolve() if asked.json else None
        stores, script = {sys.executable: store}, Path(__file__).resolve()
        if asked.against:
            other = store.with_name(f"{store.name}-other")
            stores = {asked.against: other, **stores}
            own = [asked.against, str(script), "--runs", str(asked.runs), "--store", str(other)]
            subprocess.run([*own, "--verb", "version", "--repeats", "1"], check=True)  # noqa: S603
        os.chdir(temporary)  # `-m` prefers a package of the working folder
        print("| verb | installation | cold | warm | range |\n|---|---|---|---|---|")
        costs = []
        for verb in asked.verb or VERBS:
            for cost in measure(stores, verb, asked.repeats):
                costs.append(cost)
                label = "this" if cost.python == sys.executable else "the other"
                print(
                    f"| `{verb}` | {label} | {cost.cold_s:.2f} s | {cost.warm_s:.2f} s "
                    f"| {cost.least_s:.2f} to {cost.most_s:.2f} |",
                    flush=True,
                )
    if report:
        machine = {"platform": platform.platform(), "cores": os.cpu_count() or 0}
        document = {"machine": machine, "results": [asdict(cost) for cost in costs]}
        report.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
