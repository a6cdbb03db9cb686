"""How the data of two runs differ: another order, another batch size, other samples."""

from collections.abc import Sequence

import numpy as np

from telemetry.compare.divergence.bitwise import CommonSteps
from telemetry.compare.settings.changed import DATA_HASH, OTHER_DATA, named
from telemetry.compare.settings.config_changes import ConfigChange
from telemetry.diagnose.evidence.sample_sets import SampleSet, sample_sets, united
from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session

SAME_SHARE = 0.98  # of samples or batches in common: the last epoch may not be complete
# A row of training replaces those before it, within a rank and a life of the process.
TRAINED_SQL = """
SELECT
    s.step,
    s.phase,
    s.n_seen,
    s.n_pairs,
    s.n_equal_pairs,
    s.distinct_values,
    s.hashes,
    s.times,
    s.forwards
FROM sketches AS s
JOIN (
    SELECT
        rank,
        attempt,
        MAX(step) AS step,
        MAX(n_seen) AS n_seen
    FROM sketches
    WHERE run = $run
        AND phase = 'train'
    GROUP BY
        rank,
        attempt
) AS last
    ON last.rank = s.rank
    AND last.attempt = s.attempt
    AND last.step = s.step
    AND last.n_seen = s.n_seen
WHERE s.run = $run
    AND s.phase = 'train'
ORDER BY
    s.rank,
    s.attempt
"""


def data_difference(
    session: Session,
    common: CommonSteps,
    runs: tuple[Run, Run],
    step: int,
    changes: Sequence[ConfigChange],
) -> str:
    """What is other about the data, in words.

    Args:
        session: Over both runs.
        common: Their common steps.
        runs: Base and candidate.
        step: The first step whose data differ.
        changes: What the loaders say of themselves, where it differs.
    """
    sizes = [side[int(np.searchsorted(common.steps, step))] for side in common.floats("samples")]
    if np.isfinite(sizes).all() and sizes[0] != sizes[1]:
        return (
            f"batches have {sizes[0]:.0f} samples in the base and {sizes[1]:.0f} in the candidate"
        )
    if changes:
        described = [change for change in changes if change.key != DATA_HASH]
        return f"{OTHER_DATA}: {named(described)}" if described else OTHER_DATA
    if common.shared_batches() >= SAME_SHARE:
        return "the batches are the same but in another order"
    sets = [_trained_on(session, run) for run in runs]
    if sets[0] is None or sets[1] is None:
        return "the batches differ"
    share = shared_samples(sets[0], sets[1])
    if share >= SAME_SHARE:
        return "the samples are the same but in another order"
    return f"the batches differ: both runs saw {100 * share:.0f} % of all samples seen"


def shared_samples(base: SampleSet, candidate: SampleSet) -> float:
    """Share of the distinct samples of two runs that both have seen, as far as both are known."""
    limit = np.uint64(min(base.limit, candidate.limit))
    left, right = (one.hashes[one.hashes <= limit] for one in (base, candidate))
    together = np.union1d(left, right).size
    return np.intersect1d(left, right).size / together if together else 0.0


def _trained_on(session: Session, run: Run) -> SampleSet | None:
    sets = sample_sets(session.query(TRAINED_SQL, {"run": run.run}))
    return united(sets) if sets else None
