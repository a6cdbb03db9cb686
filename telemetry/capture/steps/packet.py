"""Rows of `steps` and `metrics`, made on the writer thread from values still on their device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import pyarrow as pa
from torch import Tensor

from telemetry.capture.steps.host_numbers import on_host
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.quantity import HostSteps, Numbers, Reductions
from telemetry.capture.tensors.host import Readiness
from telemetry.format.step_flags import StepFlag
from telemetry.format.tables import table

RECORD_BYTES = 1024  # a record, its 0-d tensors and their Python objects
METRICS = "metrics"  # what their values are called on their way to the host
Columns = Mapping[str, Sequence[Numbers]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRecord:
    """One logged value."""

    step: int
    phase: str
    name: str
    value: Tensor | float
    wall_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPacket:
    """Closed steps and logged metrics; a `Packet`.

    `reductions` are those of all packets of a recording; only the writer thread calls them.
    """

    steps: tuple[StepRecord, ...]
    metrics: tuple[MetricRecord, ...]
    ready: Readiness
    reductions: Reductions

    @classmethod
    def of(
        cls,
        steps: Sequence[StepRecord],
        metrics: Sequence[MetricRecord],
        reductions: Reductions | None = None,
    ) -> "StepPacket":
        """The packet of what the training thread has made so far."""
        scalars = [scalar for record in steps for scalar in record.scalars]
        scalars += [record.value for record in metrics]
        devices = {scalar.device for scalar in scalars if isinstance(scalar, Tensor)}
        return cls(
            steps=tuple(steps),
            metrics=tuple(metrics),
            ready=Readiness(devices),
            reductions=reductions or Reductions(),
        )

    @property
    def n_bytes(self) -> int:
        """Memory held until it is written."""
        return RECORD_BYTES * (len(self.steps) + len(self.metrics))

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """Rows of `steps` and `metrics`; waits for the device."""
        self.ready.wait()
        host = self._on_host()
        if self.steps:
            yield "steps", _steps_table(self.steps, host, self.reductions)
        if self.metrics:
            yield "metrics", _metrics_table(self.metrics, host[METRICS])

    def _on_host(self) -> Columns:
        """Everything that may still be on a device, by column, one entry a step or metric."""
        steps = self.steps
        kept = {
            column: [record.parts.get(column) or record.values.get(column) for record in steps]
            for column in self.reductions.columns
        }
        return on_host(
            {
                "losses": [record.losses for record in steps],
                "closure_losses": [record.closure_losses for record in steps],
                "roots": [record.roots for record in steps],
                "found_inf": [record.found_inf for record in steps],
                "sharded_grad_sumsq": [record.sharded_grad_sumsqs for record in steps],
                "lr": [record.lr for record in steps],
                "grad_norm_total": [record.grad_norm_total for record in steps],
                "clip_coefficient": [record.clip_coefficient for record in steps],
                "loss_scale": [record.loss_scale for record in steps],
                "param_checksum": [record.param_checksum for record in steps],
                METRICS: [record.value for record in self.metrics],
                **kept,
            },
            integers=_integer_columns(),
        )


def _steps_table(records: Sequence[StepRecord], host: Columns, reductions: Reductions) -> pa.Table:
    steps = _host_steps(host, reductions)
    columns = _structure(records, host)
    columns["loss"] = _losses(steps)
    columns["root_sum"] = [_sum(roots) for roots in steps.roots]
    reductions.fill(columns, steps)
    return _arrow("steps", columns)


def _structure(records: Sequence[StepRecord], host: Columns) -> dict[str, Sequence[object]]:
    """Cells of what every step has, whatever is recorded of it."""
    return {
        "step": [record.step for record in records],
        "wall_time": [_date(record.wall_time_s) for record in records],
        "elapsed_s": [record.elapsed_s for record in records],
        "lr": [_first(numbers) for numbers in host["lr"]],
        "samples": [record.samples or None for record in records],
        "epoch": [record.epoch for record in records],
        "step_s": [record.step_s for record in records],
        "overhead_s": [record.overhead_s for record in records],
        "grad_norm_total": [_first(numbers) for numbers in host["grad_norm_total"]],
        "clip_coefficient": [_first(numbers) for numbers in host["clip_coefficient"]],
        "loss_scale": [_first(numbers) for numbers in host["loss_scale"]],
        "param_checksum": [_first(numbers) for numbers in host["param_checksum"]],
        "accumulation": [record.accumulation or None for record in records],
        "backward_calls": [record.backward_calls or None for record in records],
        "sharded_grad_sumsq": [_sum(numbers) for numbers in host["sharded_grad_sumsq"]],
        "flags": [
            record.flags | (StepFlag.SKIPPED if any(refused) else 0)
            for record, refused in zip(records, host["found_inf"], strict=True)
        ],
    }


def _host_steps(host: Columns, reductions: Reductions) -> HostSteps:
    """What the reductions are told."""
    scales = [_first(numbers) or 1.0 for numbers in host["loss_scale"]]
    return HostSteps(
        kept={column: host[column] for column in reductions.columns},
        scales=scales,
        roots=[
            tuple(root / scale for root in roots)
            for roots, scale in zip(host["roots"], scales, strict=True)
        ],
        reported=[_mean(numbers) for numbers in host["losses"]],
        returned=[_sum(numbers) for numbers in host["closure_losses"]],
    )


def _losses(steps: HostSteps) -> list[float | None]:
    """The loss of each step: what the loop says, else its closure, else the backward roots."""
    return [
        next((value for value in known if value is not None), None)
        for known in zip(steps.reported, steps.returned, map(_sum, steps.roots), strict=True)
    ]


def _metrics_table(records: Sequence[MetricRecord], values: Sequence[Numbers]) -> pa.Table:
    columns: dict[str, Sequence[object]] = {
        "step": [record.step for record in records],
        "phase": [record.phase for record in records],
        "name": [record.name for record in records],
        "value": [_first(numbers) for numbers in values],
        "wall_time": [record.wall_time for record in records],
    }
    return _arrow("metrics", columns)


def _arrow(name: str, columns: Mapping[str, Sequence[object]]) -> pa.Table:
    known = [column for column in table(name).columns if column.name in columns]
    return pa.table({c.name: pa.array(columns[c.name], type=c.arrow_type) for c in known})


@cache
def _integer_columns() -> frozenset[str]:
    return frozenset(c.name for c in table("steps").columns if c.type in {"INTEGER", "BIGINT"})


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _first(numbers: Numbers) -> float | None:
    return numbers[0] if numbers else None


def _mean(numbers: Numbers) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


def _sum(numbers: Numbers) -> float | None:
    return sum(numbers) if numbers else None
