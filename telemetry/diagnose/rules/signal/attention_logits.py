"""Attention logits have grown until each query reads one key, and the softmax passes nothing back.

Symptom: the largest logit of an attention is at least 2^11.5 and half of its heads have an entropy
of at most 0.05 of that of equal weights; or it is at least 100 with such heads in a run that does
not learn.
Fix: lower the learning rate, normalise queries and keys (QK-norm), decay the weights of both.
Not flagged: peaked heads alone (copying and local heads are), a few heads that read the first
token, logits of 100 and more in a run that learns (information only); masked entries do not count.
Source: Dehghani et al., arXiv:2302.05442; Wortsman et al., arXiv:2309.14322 (instability near 1e4);
Zhai et al., arXiv:2303.06296.
"""

from dataclasses import dataclass

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import Persistence, persistence
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray, median
from telemetry.diagnose.judgement.severity import Size, Strength, measured, statistical
from telemetry.diagnose.wording import and_more, example, number
from telemetry.store.sessions.rows import Rows

ID = "attention_logits"
# Measured on a 2-layer language model: healthy 4 to 16; queries and keys 30 times too large 1,390,
# peaked, and it learns all the same; a rate 100 times too high 7,000 to 1e6, and it does not.
EXTREME_LOGIT = 2896.0  # 2^11.5: 1.1 bits above the harmless one, 1.3 below the nearest fault
LARGE_LOGIT = 100.0
PEAKED_SHARE = 0.5  # of the heads
MIN_SAMPLES = 3

SQL = """
SELECT
    m.path AS layer,
    r.step,
    MAX(r.max) AS highest,
    MAX(r.peaked_share) AS peaked,
    MIN(r.entropy) AS entropy
FROM module_numbers AS r
JOIN modules AS m
    ON m.project = r.project
    AND m.run = r.run
    AND m.module_id = r.module_id
WHERE r.run = $run
    AND r.site = 'attention_logits'
    AND r.phase = 'train'
    AND r.max IS NOT NULL
GROUP BY m.path, m.depth, r.step
ORDER BY m.depth, m.path, r.step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attention:
    """Logits of one attention over its samples, each array of shape (n_samples,)."""

    layer: str
    steps: IntArray
    highest: FloatArray
    peaked: FloatArray
    entropy: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """One attention whose logits stay above a limit."""

    attention: _Attention
    held: Persistence
    limit: float

    @property
    def highest(self) -> float:
        """Usual largest logit."""
        return median(self.attention.highest[self.held.where])


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Extreme and peaked in any state; large and peaked in a run that fails; else large."""
    attentions = _attentions(rows)
    if not attentions:
        return NotChecked(
            detector=ID,
            reason="no softmax attention was observed in training (it cannot be seen in "
            "compiled or custom kernels)",
            absent=True,
        )
    n_samples = max(attention.steps.size for attention in attentions)
    if n_samples < MIN_SAMPLES:
        return NotChecked(
            detector=ID,
            reason=(
                f"{n_samples} attention samples from training; at least {MIN_SAMPLES} are needed"
            ),
        )
    peaked = [attention.peaked >= limits["peaked_share"] for attention in attentions]
    for name, strength, kept in (
        ("extreme_logit", measured(), peaked),
        ("large_logit", statistical(), peaked),
        ("large_logit", measured(Size.SLIGHT), [attention.steps >= 0 for attention in attentions]),
    ):
        found = _held(attentions, kept, limits[name], context.warm_in)
        if found:
            return _finding(found, strength)
    return None


def _attentions(rows: Rows) -> tuple[_Attention, ...]:
    layers, names = rows.codes("layer")
    return tuple(
        _Attention(
            layer=name,
            steps=rows.ints("step")[layers == place],
            highest=rows.floats("highest")[layers == place],
            peaked=rows.floats("peaked")[layers == place],
            entropy=rows.floats("entropy")[layers == place],
        )
        for place, name in enumerate(names)
    )


def _held(
    attentions: tuple[_Attention, ...], kept: list[BoolArray], limit: float, start: int
) -> list[_Held]:
    found = []
    for attention, among in zip(attentions, kept, strict=True):
        held = persistence(attention.steps, (attention.highest >= limit) & among, start=start)
        if held is not None:
            found.append(_Held(attention=attention, held=held, limit=limit))
    return found


def _finding(found: list[_Held], strength: Strength) -> Candidate:
    worst = max(found, key=lambda entry: entry.highest)
    where, attention = worst.held.where, worst.attention
    others = [entry.attention.layer for entry in found if entry is not worst]
    peaked = median(attention.peaked[where])
    return Candidate(
        strength=strength,
        message=f"attention logits of {and_more([attention.layer, *others])} reach "
        f"{number(worst.highest)} (limit {number(worst.limit)}): {peaked:.0%} of the "
        f"heads read a single key, entropy {median(attention.entropy[where]):.2f}",
        advice="Lower the learning rate or warm it up longer, normalise queries and keys "
        "(QK-norm), and apply weight decay to their weights.",
        layer=attention.layer,
        layers=(attention.layer, *others),
        first_step=min(entry.held.first_step for entry in found),
        last_step=max(entry.held.last_step for entry in found),
        value=worst.highest,
        threshold=worst.limit,
        unit="logit",
        evidence={
            "peaked_share": peaked,
            "query": example(
                "activations",
                "step, layer, absmax, entropy, peaked_share",
                where="site = 'attention_logits' and phase = 'train'",
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="attention logits are so large that each query reads a single key",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={
        "extreme_logit": EXTREME_LOGIT,
        "large_logit": LARGE_LOGIT,
        "peaked_share": PEAKED_SHARE,
    },
    advice=(
        "Lower the learning rate, normalise queries and keys, and apply weight decay to their "
        "weights."
    ),
    source="arXiv:2302.05442, arXiv:2309.14322, arXiv:2303.06296",
    judge=judge,
    causes=("loss_spike", "layer_imbalance", "loss_not_decreasing"),
    shown=Shown(
        unit="logit",
        normal="Attention logits stay below a few tens, and each query reads several keys.",
    ),
)
