"""The course of the learning rate over a run: of each group, and what set it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.json_values import Json, json_objects, parsed_object
from telemetry.store.sessions.rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What a scheduler that watches a value was given.

    Attributes:
        metrics: Name of each metric that had the same value until then, one entry a step.
    """

    steps: IntArray
    values: FloatArray
    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The rate over the steps, who set it, and how often.

    Attributes:
        schedulers: Settings of the schedulers, those inside others too.
        n_calls: Calls of schedulers.
        n_epochs: Passes over the data; 0 where they are not known.
        groups: Rates of the groups after the first where they change, with their steps.
        watched: What one of the schedulers watches.
    """

    steps: IntArray
    attempts: IntArray
    lr: FloatArray
    schedulers: tuple[Mapping[str, Json], ...]
    n_calls: int
    n_epochs: int
    groups: Mapping[str, tuple[IntArray, FloatArray]]
    watched: Watched

    @property
    def peak(self) -> float:
        """Largest rate."""
        return float(self.lr.max())

    @property
    def names(self) -> frozenset[str]:
        """Classes of the schedulers."""
        return frozenset(str(entry.get("class")) for entry in self.schedulers)

    def tail(self, share: float) -> int:
        """Steps at the end in which every group is at most this share of its peak."""
        above = np.flatnonzero(self.lr > share * self.peak)
        first = int(above[-1]) + 1 if above.size else 0
        if first >= self.steps.size:
            return 0
        start = int(self.steps[first])
        for steps, rates in self.groups.values():
            kept = np.flatnonzero(steps <= start)
            later = rates[kept[-1] if kept.size else 0 :]
            if rates.max() > 0 and later.max() > share * rates.max():
                return 0
        return int(self.steps.size - first)


def course_of(rows: Rows) -> Course:
    """The course of the rows of one run: steps, groups and schedulers, told apart by `what`."""
    steps, groups = rows.part("what", "step"), rows.part("what", "group")
    of_group, group_names = groups.codes("name")
    schedulers = [parsed_object(text) for text in rows.part("what", "scheduler").texts("name")]
    epochs = steps.floats("epoch")
    return Course(
        steps=steps.ints("step"),
        attempts=steps.ints("attempt"),
        lr=steps.floats("value"),
        schedulers=tuple(entry for one in schedulers for entry in _inside(one)),
        n_calls=int(np.nansum(steps.floats("calls"))),
        n_epochs=int(np.unique(epochs[np.isfinite(epochs)]).size),
        groups={
            name: (
                groups.ints("step")[of_group == place],
                groups.floats("value")[of_group == place],
            )
            for place, name in enumerate(group_names)
        },
        watched=_watched(rows),
    )


def _watched(rows: Rows) -> Watched:
    given, metrics = rows.part("what", "watched"), rows.part("what", "metric")
    names = dict.fromkeys(zip(metrics.ints("step").tolist(), metrics.texts("name"), strict=True))
    return Watched(
        steps=given.ints("step"),
        values=given.floats("value"),
        metrics=tuple(name for _, name in names),
    )


def _inside(settings: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    yield settings
    for part in json_objects(settings.get("schedulers")):
        yield from _inside(part)
