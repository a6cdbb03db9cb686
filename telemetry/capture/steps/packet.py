"""Rows of `steps` and `metrics`, made on the writer thread from values still on their device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import torch
from torch import Tensor

from telemetry.capture.steps.divided_losses import DividedLosses
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.tensors.host import PackedTensors, Readiness
from telemetry.format.step_flags import StepFlag
from telemetry.format.tables import table

RECORD_BYTES = 1024  # a record, its 0-d tensors and their Python objects
Scalar = Tensor | float | int | None


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

    `divided` is what the packets of a run know together; only the writer thread reads it.
    """

    steps: tuple[StepRecord, ...]
    metrics: tuple[MetricRecord, ...]
    ready: Readiness
    divided: DividedLosses

    @classmethod
    def of(
        cls,
        steps: Sequence[StepRecord],
        metrics: Sequence[MetricRecord],
        divided: DividedLosses | None = None,
    ) -> "StepPacket":
        """The packet of what the training thread has made so far."""
        scalars = [scalar for record in steps for scalar in record.scalars]
        scalars += [record.value for record in metrics]
        devices = {scalar.device for scalar in scalars if isinstance(scalar, Tensor)}
        return cls(
            steps=tuple(steps),
            metrics=tuple(metrics),
            ready=Readiness(devices),
            divided=divided or DividedLosses(),
        )

    @property
    def n_bytes(self) -> int:
        """Memory held until it is written."""
        return RECORD_BYTES * (len(self.steps) + len(self.metrics))

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """Rows of `steps` and `metrics`; waits for the device."""
        self.ready.wait()
        if self.steps:
            yield "steps", _steps_table(self.steps, self.divided)
        if self.metrics:
            yield "metrics", _metrics_table(self.metrics)


def host_floats(values: Sequence[Scalar]) -> list[float | None]:
    """Numbers of 0-d tensors and floats, in order; one transfer per device."""
    result: list[float | None] = [
        None if value is None or isinstance(value, Tensor) else float(value) for value in values
    ]
    devices: dict[torch.device, list[int]] = {}
    for index, value in enumerate(values):
        if isinstance(value, Tensor):
            devices.setdefault(value.device, []).append(index)
    for indices in devices.values():
        tensors = [values[index] for index in indices]
        stacked = torch.stack([_as_double(t) for t in tensors if isinstance(t, Tensor)])
        # On the writer thread: one transfer instead of one per value.
        for index, number in zip(indices, stacked.tolist(), strict=True):
            result[index] = number
    return result


def host_ints(values: Sequence[Tensor | None]) -> list[int | None]:
    """Integers of 0-d int64 tensors, in order."""
    found = [value for value in values if value is not None]
    numbers = iter(PackedTensors(found).arrays())
    return [None if value is None else int(next(numbers)[0]) for value in values]


def _as_double(value: Tensor) -> Tensor:
    value = value.detach()
    value = value if value.dim() == 0 else value.float().mean()
    return value.real.double() if value.is_complex() else value.double()


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _sum(values: Sequence[float]) -> float | None:
    return sum(values) if values else None


def _numbers(groups: Sequence[Sequence[Scalar]]) -> list[list[float]]:
    """Host values of several groups with one transfer."""
    flat = iter(host_floats([value for group in groups for value in group]))
    return [
        [number for number in (next(flat) for _ in group) if number is not None] for group in groups
    ]


def _unscaled(
    groups: Sequence[Sequence[Scalar]], scales: Sequence[float | None]
) -> list[list[float]]:
    """Host values of each group without the loss scale of its step."""
    return [
        [number / (scale or 1.0) for number in numbers]
        for numbers, scale in zip(_numbers(groups), scales, strict=True)
    ]


def _losses(
    records: Sequence[StepRecord],
    roots: Sequence[Sequence[float]],
    factors: Sequence[float | None],
    divided: DividedLosses,
) -> list[float | None]:
    """The loss of each step: what the loop says, else its closure, else the backward roots."""
    reported = [_mean(group) for group in _numbers([record.losses for record in records])]
    closures = [_sum(group) for group in _numbers([r.closure_losses for r in records])]
    losses = []
    for told, returned, started, factor in zip(reported, closures, roots, factors, strict=True):
        divided.learn(factor, len(started))
        known = told, divided.loss(started, returned), returned, _sum(started)
        losses.append(next((value for value in known if value is not None), None))
    return losses


def _steps_table(records: Sequence[StepRecord], divided: DividedLosses) -> pa.Table:
    scales = host_floats([record.loss_scale for record in records])
    roots = _unscaled([record.roots for record in records], scales)
    factors = [_sum(g) for g in _unscaled([record.root_factors for record in records], scales)]
    refused = [any(group) for group in _numbers([record.found_inf for record in records])]
    columns: dict[str, Sequence[object]] = {
        "step": [record.step for record in records],
        "wall_time": [_date(record.wall_time_s) for record in records],
        "elapsed_s": [record.elapsed_s for record in records],
        "loss": _losses(records, roots, factors, divided),
        "lr": host_floats([record.lr for record in records]),
        "batch_hash": host_ints([record.batch_hash for record in records]),
        "samples": [record.samples or None for record in records],
        "data_s": [record.data_s for record in records],
        "epoch": [record.epoch for record in records],
        "step_s": [record.step_s for record in records],
        "overhead_s": [record.overhead_s for record in records],
        "grad_norm_total": host_floats([record.grad_norm_total for record in records]),
        "clip_coefficient": host_floats([record.clip_coefficient for record in records]),
        "loss_scale": scales,
        "param_checksum": host_ints([record.param_checksum for record in records]),
        "accumulation": [record.accumulation or None for record in records],
        "backward_calls": [record.backward_calls or None for record in records],
        "root_sum": [_sum(group) for group in roots],
        "root_factor_sum": factors,
        "micro_grad_sumsq": host_floats([record.micro_grad_sumsq for record in records]),
        "stale_grad_share": host_floats([record.stale_grad_share for record in records]),
        "sharded_grad_sumsq": [
            _sum(group) for group in _numbers([record.sharded_grad_sumsqs for record in records])
        ],
        "scheduler_calls": [record.scheduler_calls for record in records],
        "flags": [
            record.flags | (StepFlag.SKIPPED if is_refused else 0)
            for record, is_refused in zip(records, refused, strict=True)
        ],
    }
    return _arrow("steps", columns)


def _metrics_table(records: Sequence[MetricRecord]) -> pa.Table:
    columns: dict[str, Sequence[object]] = {
        "step": [record.step for record in records],
        "phase": [record.phase for record in records],
        "name": [record.name for record in records],
        "value": host_floats([record.value for record in records]),
        "wall_time": [record.wall_time for record in records],
    }
    return _arrow("metrics", columns)


def _arrow(name: str, columns: dict[str, Sequence[object]]) -> pa.Table:
    types = {column.name: column.arrow_type for column in table(name).columns}
    return pa.table({key: pa.array(values, type=types[key]) for key, values in columns.items()})
