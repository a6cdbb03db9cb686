"""What stands behind a finding: the numbers of its evidence, layer by layer over the steps.

The evidence of a finding names one statement. Its columns are `step`, texts that say of what
(layer, parameter, site, name, phase), and numbers; the first of them is what the rule looks at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

import numpy as np

from telemetry.diagnose.context import Querying
from telemetry.diagnose.detector import Detector, find_detector
from telemetry.diagnose.finding import Diagnosis, Finding
from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.diagnose.wording import number
from telemetry.errors import UsageError
from telemetry.finding import MODEL_ITSELF, QUERY_KEY
from telemetry.json_values import Json
from telemetry.store.sessions.rows import SqlValue, as_text

Records: TypeAlias = Sequence[Mapping[str, SqlValue]]

STEP = "step"
# Numbers that say of what, or how, rather than how much.
NAMES_OF_THINGS = frozenset(
    {STEP, "rank", "attempt", "param_id", "module_id", "tensor_id", "position", "lr_group"}
)
WHOLE_RUN = "the run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One layer's values; NaN where none was recorded.

    Attributes:
        name: Layer, parameter or metric; `the run` for what belongs to no layer.
        named: The finding names it.
        steps: Ascending, shape (n,).
        values: The worst of each step, shape (n,).
        worst: The worst of all; NaN when there is none.
        worst_step: Its step.
    """

    name: str
    named: bool
    steps: IntArray
    values: FloatArray
    worst: float
    worst_step: int

    def to_json(self) -> dict[str, Json]:
        """One entry of `series` in `diagnose --details --json`."""
        return {
            "name": self.name,
            "named": self.named,
            "worst": self.worst,
            "worst_step": self.worst_step,
            "steps": self.steps.tolist(),
            "values": self.values.tolist(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that is known about one finding.

    Attributes:
        number: Place of the finding in the diagnosis, from 1; None if it is suppressed.
        column: Of the evidence that the series show; '' when it has none.
        low_is_worse: Small values are the bad ones.
        limit: The finding's threshold, where it is one of the column; else None.
        series: Of the layers that the finding names first, then worst first.
        n_rows: Of the evidence.
        normal: What a healthy run shows, in words.
    """

    finding: Finding
    number: int | None
    title: str
    column: str
    low_is_worse: bool
    limit: float | None
    series: tuple[Series, ...]
    sql: str
    n_rows: int
    normal: str

    def to_json(self) -> dict[str, Json]:
        """Body of `diagnose --details --json`, without the run and the commands."""
        return {
            "number": self.number,
            "finding": self.finding.to_json(),
            "title": self.title,
            "normal": self.normal,
            "evidence": {
                "sql": self.sql,
                "n_rows": self.n_rows,
                "column": self.column,
                "worse": "low" if self.low_is_worse else "high",
                "limit": self.limit,
                "series": [series.to_json() for series in self.series],
            },
        }


def chosen_finding(diagnosis: Diagnosis, wanted: str) -> tuple[Finding, int | None]:
    """The finding of a number, as the screen counts them from 1, or of a detector.

    Raises:
        UsageError: there is none; the message says what there is.
    """
    numbered = list(enumerate(diagnosis.findings, start=1))
    there = ", ".join(f"{place} {finding.detector}" for place, finding in numbered)
    known = f"its findings are {there}." if there else "the run has no findings."
    if wanted.isdecimal():
        for place, finding in numbered:
            if place == int(wanted):
                return finding, place
        raise UsageError(f"the run has no finding {wanted} to explain; {known}")
    detector = find_detector(wanted).id
    for place, finding in numbered:
        if finding.detector == detector:
            return finding, place
    for entry in diagnosis.suppressed:
        if entry.finding.detector == detector:
            return entry.finding, None
    outcome = "passed" if detector in diagnosis.passed else "was not checked"
    raise UsageError(f"{detector} {outcome}, so there is nothing to explain; {known}")


def explanation(session: Querying, finding: Finding, *, place: int | None = None) -> Explanation:
    """Read the numbers behind a finding.

    Args:
        session: An open session over the run.
        finding: Of that run.
        place: Its number in the diagnosis.
    """
    detector = find_detector(finding.detector)
    shown = detector.shown
    sql = finding.evidence.get(QUERY_KEY)
    records = session.query(sql, {}).records() if isinstance(sql, str) else []
    column = shown_column(records)
    layers = tuple(
        dict.fromkeys(layer for layer in (finding.layer, *finding.layers) if layer is not None)
    )
    return Explanation(
        finding=finding,
        number=place,
        title=detector.title,
        column=column,
        low_is_worse=shown.low_is_worse,
        limit=finding.threshold if shown.unit and shown.unit == finding.unit else None,
        series=all_series(records, column, layers, low=shown.low_is_worse) if column else (),
        sql=sql if isinstance(sql, str) else "",
        n_rows=len(records),
        normal=normal(detector, finding),
    )


def normal(detector: Detector, finding: Finding) -> str:
    """What a healthy run shows, and the limit."""
    if not finding.threshold:  # 0: of what must not be at all
        return detector.shown.normal or f"A healthy run does not show this: {detector.title}."
    limit = f"{number(finding.threshold)} {finding.unit}".rstrip()
    if detector.shown.normal:
        return f"{detector.shown.normal} The limit is {limit}."
    value = finding.value
    below = value is None or not math.isfinite(value) or value >= finding.threshold
    return f"A healthy run stays {'below' if below else 'above'} {limit}."


def shown_column(records: Records) -> str:
    """The first number that is no name of a thing and has a value; '' where there is none."""
    for name in records[0] if records else ():
        if name not in NAMES_OF_THINGS and any(_is_number(record[name]) for record in records):
            return name
    return ""


def all_series(
    records: Records, column: str, layers: Sequence[str], *, low: bool
) -> tuple[Series, ...]:
    """One series per layer or other name: those of the layers given first, then worst first.

    Args:
        records: Rows of the evidence.
        column: What is shown.
        layers: That the finding names, worst first.
        low: Small values are the bad ones.
    """
    texts = _names_in(records)
    points: dict[str, dict[int, float]] = {}
    ranks: dict[str, int] = {}
    for record in records:
        own = [as_text(record[name]) for name in texts]
        label = " ".join(text or MODEL_ITSELF for text in own) or WHOLE_RUN
        if label not in ranks:
            places = [layers.index(text) for text in _places(record) if text in layers]
            ranks[label] = min(places, default=len(layers))
        series, value, step = points.setdefault(label, {}), record[column], record.get(STEP)
        if _is_number(value):
            moment = step if isinstance(step, int) else 0
            series[moment] = _worse(series.get(moment), float(value), low=low)
    found = [
        _one_series(label, values, named=ranks[label] < len(layers), low=low)
        for label, values in points.items()
    ]
    shown = [entry for entry in found if entry.named or entry.values.size]
    return tuple(sorted(shown, key=lambda e: (ranks[e.name], _goodness(e.worst, low=low), e.name)))


def _one_series(name: str, values: Mapping[int, float], *, named: bool, low: bool) -> Series:
    steps = sorted(values)
    worst = min(steps, key=lambda step: _goodness(values[step], low=low), default=0)
    return Series(
        name=name,
        named=named,
        steps=np.array(steps, dtype=np.int64),
        values=np.array([values[step] for step in steps], dtype=np.float64),
        worst=values.get(worst, float("nan")),
        worst_step=worst,
    )


def _names_in(records: Records) -> list[str]:
    """Text columns that tell rows apart, else the first; a parameter's name has its layer's."""
    if not records:
        return []
    texts = [
        name
        for name, value in records[0].items()
        if isinstance(value, str) or any(isinstance(r[name], str) for r in records)
    ]
    if "parameter" in texts:
        texts = [name for name in texts if name != "layer"]
    varying = [name for name in texts if len({record[name] for record in records}) > 1]
    return varying or texts[:1]


def _places(record: Mapping[str, SqlValue]) -> list[str]:
    """Texts of a row that a finding may name as its layer; the root's path is ''."""
    return [value for value in record.values() if isinstance(value, str)]


def _worse(known: float | None, value: float, *, low: bool) -> float:
    if known is None or _goodness(value, low=low) < _goodness(known, low=low):
        return value
    return known


def _goodness(value: float, *, low: bool) -> float:
    """Smaller is worse; what is not a number is the worst."""
    if math.isnan(value):
        return -math.inf
    return value if low else -value


def _is_number(value: SqlValue) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
