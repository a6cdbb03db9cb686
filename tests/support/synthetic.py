"""Builds real runs (real Parquet shards, real run.json) without training; for the query half."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from telemetry.format import histograms
from telemetry.format.manifest import Attempt, Manifest, Status, utc_text, write_manifest
from telemetry.format.runs import new_shard_name, run_folder
from telemetry.format.shards import table_folder, write_shard
from telemetry.format.tables import table
from telemetry.json_values import Json

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Value = "bool | int | float | str | bytes | datetime | None"


def name_id(*parts: str) -> int:
    """First 53 bits of blake2b over the parts joined by NUL."""
    digest = hashlib.blake2b("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:7], "big") >> 3


def tensor_id(name: str, kind: str) -> int:
    return name_id(name, kind)


def module_id(path: str) -> int:
    return name_id(path)


@dataclass
class RunBuilder:
    """Collects rows per table; `write()` publishes them as one shard per table."""

    store: Path
    run: str = "20260102-030405-aaaaaa"
    project: str = "demo"
    name: str = "base"
    config: Mapping[str, Json] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    started: datetime = START
    attempt: int = 1
    rank: int = 0
    total_steps: int | None = None
    environment: Mapping[str, Json] = field(default_factory=dict)
    summary: dict[str, Json] = field(default_factory=dict)
    rows: dict[str, list[dict[str, object]]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return run_folder(self.store, self.project, self.run)

    def add(self, name: str, /, **values: object) -> "RunBuilder":
        """One row; `attempt` is filled in, missing nullable columns become NULL."""
        self.rows.setdefault(name, []).append({"attempt": self.attempt, **values})
        return self

    def losses(
        self, losses: Sequence[float], *, lr: float = 0.1, every: int = 1, **extra: object
    ) -> "RunBuilder":
        """One `steps` row per loss; steps that are a multiple of `every` are flagged sampled."""
        for step, loss in enumerate(losses):
            self.add(
                "steps",
                step=step,
                wall_time=self.started + timedelta(milliseconds=10 * step),
                elapsed_s=0.01 * (step + 1),
                loss=float(loss),
                lr=lr,
                samples=64,
                step_s=0.01,
                flags=1 | (16 if step % every == 0 else 0),
                **extra,
            )
        return self

    def metric(
        self, name: str, values: Mapping[int, float], *, phase: str = "eval"
    ) -> "RunBuilder":
        for step, value in values.items():
            self.add("metrics", step=step, name=name, phase=phase, value=float(value))
        return self

    def parameter(  # noqa: PLR0913 - one per column that a test sets
        self,
        name: str,
        *,
        shape: tuple[int, ...],
        depth: int,
        module_type: str = "Linear",
        trainable: bool = True,
        lr_group: int | None = 0,
        dtype: str = "float32",
        sharding: str = "replicated",
    ) -> "RunBuilder":
        """Catalogue rows of one parameter (weight, gradient, update) and of its module."""
        module = name.rpartition(".")[0]
        n = int(np.prod(shape))
        for kind in ("weight", "gradient", "update"):
            self.add(
                "tensors",
                tensor_id=tensor_id(name, kind),
                param_id=tensor_id(name, "weight"),
                name=name,
                kind=kind,
                module=module,
                module_id=module_id(module),
                module_type=module_type,
                depth=depth,
                shape=json.dumps(list(shape)),
                dtype=dtype,
                n=n,
                fan_in=n // shape[0] if len(shape) > 1 else n,
                lr_group=lr_group,
                trainable=trainable,
                sharding=sharding,
            )
        return self

    def module(
        self, path: str, *, type_: str = "Linear", depth: int = 0, role: str = "linear"
    ) -> "RunBuilder":
        parent = path.rpartition(".")[0] if path else None
        return self.add(
            "modules",
            module_id=module_id(path),
            parent_id=None if parent is None else module_id(parent),
            path=path,
            type=type_,
            depth=depth,
            n_parameters=0,
            role=role,
            attributes="{}",
        )

    def tensor(
        self,
        name: str,
        kind: str,
        step: int,
        values: "np.typing.NDArray[np.float32]",
        **extra: object,
    ) -> "RunBuilder":
        """A `tensor_stats` row with the statistics of real values."""
        flat = np.asarray(values, dtype=np.float32).ravel()
        finite = flat[np.isfinite(flat)].astype(np.float64)
        exponent, counts = histograms.fold(histograms.fields_of(flat)[None, :])
        seen = finite.size > 0
        filled = bool(counts[0].sum())
        row: dict[str, object] = {
            "step": step,
            "tensor_id": tensor_id(name, kind),
            "param_id": tensor_id(name, "weight"),
            "kind": kind,
            "provenance": "unscaled" if kind == "gradient" else "",
            "n": flat.size,
            "n_sampled": flat.size,
            "sum": float(finite.sum()) if seen else None,
            "sumsq": float((finite**2).sum()) if seen else None,
            "min": float(finite.min()) if seen else None,
            "max": float(finite.max()) if seen else None,
            "absmax": float(np.abs(finite).max()) if seen else None,
            "n_zero": int((flat == 0).sum()),
            "n_nan": int(np.isnan(flat).sum()),
            "n_inf": int(np.isinf(flat).sum()),
            "hist_exp": int(exponent[0]) if filled else None,
            "hist": histograms.encode_counts(counts[0]).tobytes() if filled else None,
            "scale": 1.0 if kind == "gradient" else None,
        }
        return self.add("tensor_stats", **{**row, **extra})

    def norm(
        self, name: str, kind: str, step: int, norm: float, *, n: int, **extra: object
    ) -> "RunBuilder":
        """A `tensor_stats` row of `n` elements that says only the L2 norm; cheap for long runs."""
        rms = norm / n**0.5
        row: dict[str, object] = {
            "step": step,
            "tensor_id": tensor_id(name, kind),
            "param_id": tensor_id(name, "weight"),
            "kind": kind,
            "provenance": "unscaled" if kind == "gradient" else "",
            "n": n,
            "n_sampled": n,
            "sum": 0.0,
            "sumsq": norm**2,
            "min": -rms,
            "max": rms,
            "absmax": rms,
            "n_zero": n if norm == 0 else 0,
            "n_nan": 0,
            "n_inf": 0,
            "scale": 1.0 if kind == "gradient" else None,
        }
        return self.add("tensor_stats", **{**row, **extra})

    def activation(self, path: str, site: str, step: int, **values: object) -> "RunBuilder":
        """A `module_stats` row; give the statistics that matter (n, sum, sumsq, n_dead, ...)."""
        row: dict[str, object] = {
            "step": step,
            "module_id": module_id(path),
            "site": site,
            "phase": "train",
            "training": True,
            "dtype": "float32",
            "n": 6400,
            "sum": 0.0,
            "sumsq": 6400.0,
            "n_zero": 0,
            "n_nan": 0,
            "n_inf": 0,
        }
        return self.add("module_stats", **{**row, **values})

    def event(
        self,
        kind: str,
        *,
        step: int = 0,
        severity: str = "info",
        message: str = "",
        **payload: Json,
    ) -> "RunBuilder":
        return self.add(
            "events",
            step=step,
            wall_time=self.started,
            kind=kind,
            severity=severity,
            message=message,
            payload=json.dumps(payload),
        )

    def write(
        self, *, status: Status = Status.FINISHED, error: Mapping[str, Json] | None = None
    ) -> Path:
        """Publish every table and the manifest; returns the run folder."""
        steps = [int(str(row["step"])) for row in self.rows.get("steps", [])]
        last = max(steps, default=0)
        self.path.mkdir(parents=True, exist_ok=True)
        for name, rows in self.rows.items():
            schema = table(name)
            arrays = {
                column.name: pa.array(
                    [row.get(column.name) for row in rows], type=column.arrow_type
                )
                for column in schema.columns
            }
            write_shard(
                table_folder(self.path, name, self.rank),
                schema,
                pa.table(arrays),
                new_shard_name(first=0, last=last, attempt=self.attempt),
            )
        write_manifest(self.path, self._manifest(status, error, steps))
        return self.path

    def _manifest(
        self, status: Status, error: Mapping[str, Json] | None, steps: list[int]
    ) -> Manifest:
        started = utc_text(self.started)
        ended = utc_text(self.started + timedelta(minutes=1))
        attempt = Attempt(
            attempt=self.attempt,
            start_step=min(steps, default=0),
            last_step=max(steps, default=0),
            started=started,
            ended=ended,
            host="elsewhere",
            boot_id="none",
            pid=1,
            process_start=1,
            writer="synthetic",
            world_size=1,
        )
        return Manifest(
            run=self.run,
            project=self.project,
            name=self.name,
            started=started,
            heartbeat=ended,
            status=status,
            ended=None if status is Status.RUNNING else ended,
            tags=self.tags,
            config=self.config,
            total_steps=self.total_steps,
            error=error,
            attempts=(attempt,),
            closed=status is not Status.RUNNING,
            environment=self.environment,
            summary={
                **self.summary,
                "metrics": self._metric_summary(),
                "steps": len(set(steps)),
            },
        )

    def _metric_summary(self) -> dict[str, Json]:
        series: dict[str, list[tuple[int, float]]] = {}
        for row in self.rows.get("steps", []):
            if row.get("loss") is None:
                continue
            series.setdefault("loss", []).append((int(str(row["step"])), float(str(row["loss"]))))
        for row in self.rows.get("metrics", []):
            entry = (int(str(row["step"])), float(str(row["value"])))
            series.setdefault(str(row["name"]), []).append(entry)
        summary: dict[str, Json] = {}
        for name, points in series.items():
            finite = [(value, step) for step, value in points if np.isfinite(value)]
            lower = not name.endswith(("accuracy", "acc", "f1", "auc"))
            best = (min(finite) if lower else max(finite)) if finite else (float("nan"), 0)
            summary[name] = {"last": points[-1][1], "best": best[0], "best_step": best[1]}
        return summary
