"""The model answers every example alike, and its loss is that of the best such answer.

Symptom: in the second half of the run the outputs of a batch differ by at most a fiftieth of what
its targets do (of a class score: by 0.02), while the loss is at that of the best constant answer,
within 5 %.
Fix: mostly another finding is the cause. If none is, look at what lies between input and output:
dead or saturated layers, an input that is lost, labels that do not belong to their inputs.
Not flagged: targets that are all alike; batches of fewer than 8; the first half of a run; runs
whose loss is lower, however alike the answers look; losses whose best constant is not known.
Source: Humbatova et al., arXiv:1910.11015; the level is searched as `loss_graphs` says.

A symptom of almost anything; a root only where nothing else explains it.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.loss_pairs import NOT_FOLLOWED, LossPair, loss_pairs
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import FloatArray
from telemetry.diagnose.judgement.severity import Size, statistical
from telemetry.diagnose.wording import example, guessing_score, number
from telemetry.format.loss_operations import DIFFERENCES
from telemetry.store.sessions.rows import Rows

ID = "constant_predictor"
SPREAD_SHARE = 0.02  # of the targets; what is left where a constant was learned is noise
LEVEL_SHARE = 0.05  # around the level, which is searched on few batches
MIN_STEPS = 4
MIN_EXAMPLES = 8
CHANGED = "no output meets a target of the data as the model returned it"
SCORE_SPREAD = 1.0  # of class scores: a factor of e between two classes

SQL = """
SELECT
    g.step,
    g.path AS layer,
    g.operation,
    g.head,
    CAST(g.is_output AS INTEGER) AS is_output,
    CAST(g.is_made AS INTEGER) AS is_made,
    g.output_shape,
    g.target_shape,
    g.output_spread,
    g.target_max - g.target_min AS target_spread,
    g.n
FROM loss_graphs AS g
WHERE g.run = $run
    AND g.operation IS NOT NULL
    AND g.n >= $min_examples
ORDER BY g.step, g.call, g.pair
LIMIT 4000
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The commonest pair of the loss, and the level of the loss at its end."""
    followed = loss_pairs(rows)
    pairs = [pair for pair in followed if pair.is_output and not pair.is_made]
    if not pairs:
        reason = CHANGED if followed else NOT_FOLLOWED
        return NotChecked(detector=ID, reason=reason, absent=True)
    level = context.baseline.constant
    if level is None or not np.isfinite(context.progress.end):
        reason = context.baseline.reason or "the loss of the best constant answer is not known"
        return NotChecked(detector=ID, reason=reason)
    pair = pairs[0]
    late = pair.steps >= context.last_step / 2
    if len(set(pair.steps[late].tolist())) < MIN_STEPS:
        return NotChecked(detector=ID, reason="the second half of the run has too few samples")
    share = _share(pair)[late]
    is_alike = bool((share <= limits["spread_share"]).all())
    if is_alike and abs(context.progress.end / level - 1) <= limits["level_share"]:
        return _finding(pair, share, int(pair.steps[late][0]), context, limits)
    return None


def _share(pair: LossPair) -> FloatArray:
    """Spread of the outputs over examples, in that of their targets; NaN where these are equal."""
    targets = pair.numbers("target_spread")
    spread = targets if pair.operation in DIFFERENCES else np.full_like(targets, SCORE_SPREAD)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(targets > 0, pair.numbers("output_spread") / spread, np.nan)


def _finding(
    pair: LossPair, share: FloatArray, first_step: int, context: RunContext, limits: Limits
) -> Candidate:
    usual = float(np.median(share))
    unit = "of what the targets do" if pair.operation in DIFFERENCES else "in any score"
    return Candidate(
        strength=statistical(Size.FAR),
        message=f"{pair.subject} is the same for every example of a batch: it differs by "
        f"{number(usual)} {unit} (limit {number(limits['spread_share'])}), and the loss is "
        f"{number(context.progress.end)}; {guessing_score(context.baseline)}",
        advice="Look at the other findings first. If there are none, follow the input through the "
        "model: print what two different examples give after each layer.",
        layer=pair.layer,
        first_step=first_step,
        last_step=int(pair.steps[-1]),
        value=usual,
        threshold=limits["spread_share"],
        unit="share",
        evidence={
            "level": context.baseline.constant,
            "loss": context.progress.end,
            "query": example(
                "loss_graphs",
                "step, path as layer, output_spread, target_min, target_max",
                where="pair is not null",
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the model answers every example alike",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={
        "spread_share": SPREAD_SHARE,
        "level_share": LEVEL_SHARE,
        "min_examples": MIN_EXAMPLES,
    },
    advice="Look for the cause among the other findings; otherwise follow the input through the "
    "model.",
    source="arXiv:1910.11015",
    judge=judge,
    caused_by=("loss_not_decreasing",),
    is_symptom=True,
    explains_symptoms=False,
    shown=Shown(
        low_is_worse=True,
        normal="Outputs differ between examples about as the targets do.",
    ),
)
