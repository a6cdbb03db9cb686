"""A model that is trained to predict the next token can see it.

Symptom: the targets are the tokens that the model was given, one place on, and every attention over
these tokens also sees later tokens. The loss falls far below what the past allows, in training and
in validation alike, and the model is useless for generating text: later tokens do not exist yet.
Fix: pass is_causal=True or a mask that is closed above the diagonal to each attention.
Not flagged: encoders, whose targets are not the next tokens (masked tokens, classes); places whose
targets are ignored, such as a prompt; cross-attention, and an encoder beside a decoder that has a
mask; attention that is pooled before the loss. Not seen: tokens that no nn.Embedding reads, losses
other than cross_entropy and nll_loss, compiled attention, and masks in an activation checkpoint.
Source: Vaswani et al., arXiv:1706.03762, section 3.2.3; huggingface/transformers, issue 48745.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "missing_causal_mask"
ATTENTION = "attention"

SQL = """
SELECT
    s.step,
    s.future_share,
    s.next_target_share
FROM steps AS s
WHERE s.run = $run
    AND s.next_target_share IS NOT NULL
ORDER BY s.step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Whether both facts held each time that was looked."""
    del limits
    steps, next_share = rows.ints("step"), rows.floats("next_target_share")
    if not steps.size:
        return NotChecked(
            detector=ID,
            reason="no embedding was seen that reads as many tokens as cross_entropy has targets",
        )
    if not (next_share == 1).all():
        return None
    open_share = rows.floats("future_share")
    if np.isnan(open_share).all():
        if not any(module.role == ATTENTION for module in context.network.modules):
            return None
        return NotChecked(
            detector=ID,
            reason="the targets are the next tokens, but no attention among them could be read",
        )
    least = float(np.nanmin(open_share))
    if not least > 0:
        return None
    seen = "all later tokens" if least == 1 else f"{number(100 * least)} % of the later tokens"
    return Candidate(
        strength=exact(Size.FAR),
        message=f"the targets are the next tokens of the input, and attention sees {seen}, so "
        "the model can copy the answer",
        advice="Pass is_causal=True, or a mask that is closed above the diagonal, to each "
        "attention; validate by generating token after token.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=least,
        threshold=0.0,
        unit="share of the later tokens",
        evidence={
            "query": example(
                "steps", "step, future_share, next_target_share", where="future_share is not null"
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="a model that predicts the next token can see it",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={},
    advice="Pass is_causal=True, or a causal mask, to each attention.",
    source="arXiv:1706.03762",
    judge=judge,
    causes=("loss_not_decreasing", "overfitting"),
    shown=Shown(normal="A token sees itself and the tokens before it."),
)
