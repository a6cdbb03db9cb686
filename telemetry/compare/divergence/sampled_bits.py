"""Reads at which sampled step two runs first differ in a tensor or in what a module puts out.

NULL stands for "no finite value" or "not recorded" and differs from a number, but not from itself.
Ranks are compared rank by rank, because sums over ranks depend on the order of addition.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.compare.settings.layer_paths import containers_of
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import SqlValue, as_float, as_text
from telemetry.store.sessions.session import Session

RANDOM_MODULE = re.compile(r"drop|stochasticdepth|noise", re.IGNORECASE)
OUTPUT = "output"  # of a module, among the kinds of tensors

WEIGHTS_SQL = """
SELECT
    name,
    module,
    shape
FROM tensors
WHERE run = $run
    AND kind = 'weight'
ORDER BY
    depth,
    name
"""
FIRST_TENSOR_SQL = """
SELECT MIN(b.step) AS step
FROM tensor_rows AS b
JOIN tensor_rows AS c
    ON c.step = b.step
    AND c.tensor_id = b.tensor_id
    AND c.rank = b.rank
WHERE b.run = $base
    AND c.run = $candidate
    AND b.step BETWEEN $since AND $until
    AND (
        b.n_sampled <> c.n_sampled
        OR b.n_zero <> c.n_zero
        OR b.n_nan <> c.n_nan
        OR b.n_inf <> c.n_inf
        OR COALESCE(b.sumsq, -1) <> COALESCE(c.sumsq, -1)
        OR COALESCE(b.sum, 0) <> COALESCE(c.sum, 0)
        OR HEX(b.hist) <> HEX(c.hist)
    )
ORDER BY step
"""
FIRST_OUTPUT_SQL = """
SELECT MIN(b.step) AS step
FROM module_rows AS b
JOIN module_rows AS c
    ON c.step = b.step
    AND c.module_id = b.module_id
    AND c.site = b.site
    AND c.phase = b.phase
    AND c.rank = b.rank
WHERE b.run = $base
    AND c.run = $candidate
    AND b.site = 'output'
    AND b.phase = 'train'
    AND b.step BETWEEN $since AND $until
    AND (
        b.n <> c.n
        OR b.n_nan <> c.n_nan
        OR b.n_inf <> c.n_inf
        OR COALESCE(b.sumsq, -1) <> COALESCE(c.sumsq, -1)
        OR COALESCE(b.sum, 0) <> COALESCE(c.sum, 0)
        OR COALESCE(b.absmax, 0) <> COALESCE(c.absmax, 0)
    )
ORDER BY step
"""
TENSORS_AT_SQL = """
SELECT
    r.rank,
    t.kind,
    t.name,
    t.module AS layer,
    t.dtype,
    r.sumsq,
    r.sum,
    r.n_sampled,
    r.n_zero,
    r.n_nan,
    r.n_inf,
    HEX(r.hist) AS hist
FROM tensor_rows AS r
JOIN tensors AS t
    ON t.run = r.run
    AND t.tensor_id = r.tensor_id
WHERE r.run = $run
    AND r.step = $step
ORDER BY
    t.depth,
    t.name,
    t.kind,
    r.rank
"""
OUTPUTS_AT_SQL = """
SELECT
    r.rank,
    r.site AS kind,
    m.type AS name,
    m.path AS layer,
    m.attributes,
    r.dtype,
    r.sumsq,
    r.sum,
    r.absmax,
    r.n,
    r.n_nan,
    r.n_inf
FROM module_rows AS r
JOIN modules AS m
    ON m.run = r.run
    AND m.module_id = r.module_id
WHERE r.run = $run
    AND r.step = $step
    AND r.site = 'output'
    AND r.phase = 'train'
ORDER BY
    m.depth,
    m.path,
    r.rank
"""
HALF_SQL = """
SELECT COUNT(*) AS n
FROM module_rows
WHERE run = $run
    AND site = 'output'
    AND (dtype = 'float16' OR dtype = 'bfloat16')
ORDER BY n
"""

Record = Mapping[str, SqlValue]
Place = tuple[str, str, str]  # kind, layer, parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """One tensor that differs, or what a module puts out.

    `name` is the parameter's, of an output the class of the base's module; `magnitude` is the
    relative difference of the norms, NaN where there is none; `draws` tells that the module draws
    random numbers.
    """

    kind: str
    name: str
    layer: str
    dtype: str = ""
    magnitude: float = math.nan
    draws: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledStep:
    """A sampled step: which kinds of tensors both runs recorded, and what differs.

    `differing` is in order of execution: outputs, then parameters.
    """

    step: int
    recorded: frozenset[str] = frozenset()
    differing: tuple[Differing, ...] = ()

    def of(self, kind: str) -> tuple[Differing, ...]:
        """What differs of a kind."""
        return tuple(one for one in self.differing if one.kind == kind)


def parameter_shapes(session: Session, run: Run) -> Mapping[str, tuple[str, str]]:
    """Layer and shape of every parameter by name, in order of execution."""
    rows = session.query(WEIGHTS_SQL, {"run": run.run})
    layers = zip(rows.texts("module"), rows.texts("shape"), strict=True)
    return dict(zip(rows.texts("name"), layers, strict=True))


def first_difference(
    session: Session, base: Run, candidate: Run, *, since: int, until: int
) -> int | None:
    """The first step from `since` to `until` at which sampled tensors or outputs differ."""
    places: Record = {"base": base.run, "candidate": candidate.run, "since": since, "until": until}
    found = [
        session.query(FIRST_TENSOR_SQL, places).floats("step")[0],
        session.query(FIRST_OUTPUT_SQL, places).floats("step")[0],
    ]
    return min((int(step) for step in found if step >= 0), default=None)


def sampled_step(session: Session, base: Run, candidate: Run, step: int) -> SampledStep:
    """What both runs recorded at a step, tensor by tensor.

    Modules that contain another differing one are left out: their output differs because of it.
    """
    recorded: set[str] = set()
    differing: dict[Place, Differing] = {}
    for statement in (OUTPUTS_AT_SQL, TENSORS_AT_SQL):
        left, right = (
            {_key(row): row for row in _rows_at(session, statement, run, step)}
            for run in (base, candidate)
        )
        common = [key for key in left if key in right]
        recorded |= {place[0] for _, place in common}
        for key in common:
            found = _compared(left[key], right[key])
            if found is not None:
                differing.setdefault(key[1], found)
    return SampledStep(
        step=step,
        recorded=frozenset(recorded),
        differing=_innermost(tuple(differing.values())),
    )


def has_half_precision(session: Session, run: Run) -> bool:
    """Whether modules put out numbers of half precision."""
    return bool(session.query(HALF_SQL, {"run": run.run}).ints("n")[0])


def _rows_at(session: Session, statement: str, run: Run, step: int) -> list[Record]:
    return [*session.query(statement, {"run": run.run, "step": step}).records()]


def _key(row: Record) -> tuple[SqlValue, Place]:
    kind, name, layer = (as_text(row[column]) for column in ("kind", "name", "layer"))
    # Another class at the same place is the same place.
    return row["rank"], (kind, layer, "" if kind == OUTPUT else name)


def _compared(base: Record, candidate: Record) -> Differing | None:
    """What differs, None for equal statistics."""
    statistics = [name for name in base if name not in {"name", "dtype", "attributes"}]
    if all(base[name] == candidate[name] for name in statistics):
        return None
    norms = [math.sqrt(as_float(row["sumsq"])) for row in (base, candidate)]
    largest = max(norms)
    return Differing(
        kind=as_text(base["kind"]),
        name=as_text(base["name"]),
        layer=as_text(base["layer"]),
        dtype=as_text(base["dtype"]),
        magnitude=abs(norms[0] - norms[1]) / largest if 0 < largest < math.inf else math.nan,
        draws=any(_draws(as_text(row["name"]), row.get("attributes")) for row in (base, candidate)),
    )


def _draws(name: str, attributes: SqlValue) -> bool:
    """Whether a module draws random numbers: a Dropout, or an attention with `dropout=0.1`."""
    drops = re.findall(r'"\w*drop\w*": ([\d.e-]+)', as_text(attributes))
    return bool(RANDOM_MODULE.search(name)) or any(float(share) > 0 for share in drops)


def _innermost(differing: tuple[Differing, ...]) -> tuple[Differing, ...]:
    outer = containers_of(one.layer for one in differing if one.kind == OUTPUT)
    return tuple(one for one in differing if one.kind != OUTPUT or one.layer not in outer)
