"""A model of sequences is trained to predict the token that it is given.

Symptom: at each place the target is the token that the model reads there, in every batch, and the
places reach the loss one by one. The loss falls to nothing, for copying is enough; a model of the
next token has learned nothing then.
Fix: shift: give tokens[:, :-1] and compare with tokens[:, 1:].
Not flagged: masked tokens, of which some differ; models that read other tokens as well, such as a
decoder beside its encoder; autoencoders that put a sequence into one vector; labels that the model
shifts itself. Not seen: tokens that no nn.Embedding reads, losses other than cross_entropy and
nll_loss, and recurrences that torch runs place after place (nn.RNN and nn.GRU on a CPU).
Source: Radford et al., Improving language understanding by generative pre-training, 2018, eq. 1.
"""

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import exact
from telemetry.diagnose.wording import example
from telemetry.store.sessions.rows import Rows

ID = "unshifted_targets"

SQL = """
SELECT
    s.step,
    s.own_target_share
FROM steps AS s
WHERE s.run = $run
    AND s.own_target_share IS NOT NULL
ORDER BY s.step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Whether it was so each time that was looked."""
    del context, limits
    steps, share = rows.ints("step"), rows.floats("own_target_share")
    if not steps.size:
        return NotChecked(
            detector=ID,
            reason="no embedding was seen that reads as many tokens as cross_entropy has targets",
        )
    if not (share == 1).all():
        return None
    return Candidate(
        strength=exact(),
        message="the target at each place is the token that the model reads there: copying it is "
        "all there is to learn",
        advice="Shift the targets by one place: give tokens[:, :-1], and compare with "
        "tokens[:, 1:].",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=1.0,
        threshold=None,
        unit="share of the targets",
        evidence={
            "n_looks": int(steps.size),
            "query": example(
                "steps", "step, own_target_share", where="own_target_share is not null"
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="a model of sequences is given the tokens that it is to predict",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={},
    advice="Shift the targets by one place.",
    source="Radford et al., 2018",
    judge=judge,
    causes=("overfitting",),
    shown=Shown(normal="The target at a place is the next token, or one that is hidden there."),
)
