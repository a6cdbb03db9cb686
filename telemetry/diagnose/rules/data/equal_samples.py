"""The examples of a batch are the same.

Symptom: of the pairs of samples within a forward half or more are equal, number for number: the
data set returns one example whatever its index, inputs were zeroed or clipped to one value, every
word became the unknown token, or a batch was made by repeating a sample.
Fix: print two samples of one batch, first as the data set gives them, then as the model gets them.
Not flagged: runs that learn get information, for nodes of a graph without features and states of a
small world are alike and well; models whose inputs are not hashed; fewer than 100 pairs.
Source: Humbatova et al., arXiv:1910.11015.
"""

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.sample_sets import sample_sets
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example
from telemetry.store.sessions.rows import Rows

ID = "equal_samples"
EQUAL_SHARE = 0.5  # of the pairs; a class that holds half of all samples, all alike, has a quarter
MIN_PAIRS = 100

SQL = """
SELECT
    s.rank, s.attempt, s.step, s.phase, s.n_seen, s.n_pairs,
    s.n_equal_pairs, s.distinct_values, s.hashes, s.times, s.forwards
FROM sketches AS s
WHERE s.run = $run AND s.phase = 'train'
ORDER BY s.step, s.rank, s.attempt
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Equal ones among the pairs of samples that went through the model together."""
    sets = sample_sets(rows)
    if not sets or sets[-1].n_pairs < MIN_PAIRS:
        return NotChecked(
            detector=ID,
            reason=f"fewer than {MIN_PAIRS} pairs of samples within a batch were compared; call "
            "the model with batches of samples along the first dimension",
            absent=True,
        )
    last = sets[-1]
    share = last.n_equal_pairs / last.n_pairs
    if share < limits["equal_share"]:
        return None
    which = "every two samples" if share == 1 else f"{share:.0%} of the pairs of samples"
    return Candidate(
        strength=exact(Size.SLIGHT),
        message=f"{which} within a batch are the same, number for number (limit "
        f"{limits['equal_share']:.0%}); {last.hashes.size} different samples were seen in "
        f"{last.n_seen}",
        advice="Print two samples of one batch, first as the data set gives them, then as the "
        "model gets them: look for a constant index, and for a transformation that loses them.",
        first_step=0,
        last_step=context.last_step,
        value=share,
        threshold=limits["equal_share"],
        unit="share",
        evidence={
            "n_pairs": last.n_pairs,
            "n_distinct": int(last.hashes.size),
            "state": context.progress.state,
            "query": example("sketches", "step, phase, n_equal_pairs, n_pairs, n_seen"),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the examples of a batch are the same",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"equal_share": EQUAL_SHARE},
    advice="Look at what makes a sample: the index, the file that is read, the transformations.",
    source="arXiv:1910.11015",
    judge=judge,
    causes=(
        "repeated_batch",
        "constant_predictor",
        "loss_not_decreasing",
        "loss_plateau",
        "leakage",
        "representation_collapse",
        "dead_units",
    ),
    shown=Shown(
        normal="Samples of a batch differ; duplicates in data are a few percent.",
    ),
)
