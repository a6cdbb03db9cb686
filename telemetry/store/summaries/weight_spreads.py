"""How the magnitudes of the weights of a run are spread, at a few steps from first to last."""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session

if TYPE_CHECKING:
    from telemetry.store.sessions.rows import SqlValue

STEPS_SQL = """
SELECT DISTINCT
    t.step
FROM tensor_rows AS t
WHERE t.project = $project
    AND t.run = $run
    AND t.kind = 'weight'
    AND t.hist_exp IS NOT NULL
ORDER BY t.step
"""

OCTAVES_SQL = """
SELECT
    h.parameter,
    t.depth,
    t.n,
    h.exponent,
    SUM(h.count) AS count
FROM histograms AS h
JOIN tensors AS t
    ON t.project = h.project
    AND t.run = h.run
    AND t.name = h.parameter
    AND t.kind = h.kind
WHERE h.project = $project
    AND h.run = $run
    AND h.step = $step
    AND h.kind = 'weight'
GROUP BY h.parameter, t.depth, t.n, h.exponent
ORDER BY t.depth, h.parameter, h.exponent
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The weights of one parameter at one step.

    `octaves` are shares of its elements whose magnitude lies from 2^e up to 2^(e+1), by e; exact
    zeros are in none.
    """

    step: int
    octaves: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSpread:
    """One parameter of `n` elements, its spreads in the order of the steps."""

    parameter: str
    n: int
    spreads: tuple[Spread, ...]


def weight_spreads(
    session: Session, run: Run, *, most_steps: int, most_parameters: int
) -> tuple[WeightSpread, ...]:
    """The largest parameters of a run in the order of the forward pass.

    Args:
        session: Over that run at least.
        run: Which one.
        most_steps: At how many steps, evenly from the first sample to the last.
        most_parameters: Of how many parameters, those with most elements.
    """
    key: dict[str, SqlValue] = {"project": run.ref.project, "run": run.run}
    sampled = session.query(STEPS_SQL, key).ints("step")
    if not sampled.size:
        return ()
    places = np.linspace(0, sampled.size - 1, min(most_steps, sampled.size)).round()
    found: dict[str, list[Spread]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for step in sampled[places.astype(np.int64)].tolist():
        rows = session.query(OCTAVES_SQL, {**key, "step": step})
        names, counts = np.array(rows.texts("parameter")), rows.floats("count")
        sizes |= dict(zip(names.tolist(), rows.ints("n").tolist(), strict=True))
        for name in dict.fromkeys(names.tolist()):
            mine = names == name
            octaves = _shares(rows.ints("exponent")[mine], counts[mine])
            found[name].append(Spread(step=step, octaves=octaves))
    kept = set(sorted(sizes, key=lambda name: -sizes[name])[:most_parameters])
    return tuple(
        WeightSpread(parameter=name, n=sizes[name], spreads=tuple(spreads))
        for name, spreads in found.items()
        if name in kept
    )


def _shares(
    exponents: npt.NDArray[np.int64], counts: npt.NDArray[np.float64]
) -> tuple[tuple[int, float], ...]:
    total = counts.sum()
    return tuple(zip(exponents.tolist(), (counts / total).tolist(), strict=True))
