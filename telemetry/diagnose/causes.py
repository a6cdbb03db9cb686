"""One root, the rest its consequences: the cause graph over findings.

A finding whose ancestor in the graph was found too, no later than one sampling period after it, is
that ancestor's consequence. Only a warning or an error can be a cause.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from telemetry.diagnose.finding import Finding, Severity

SYMPTOM = "loss_not_decreasing"  # a root only where nothing else explains it
NOT_A_CAUSE = frozenset(
    {SYMPTOM, "loss_plateau", "class_collapse", "overfitting", "leakage", "input_stall"}
)

# What each cause brings about. Two edges to learning_rate_too_high are ours: a network that starts
# far off overshoots at any rate, and a loss that is climbed leaves its level. Three edges of
# input_scale are ours: a rate is right for one scale of the inputs only, and inputs that evaluation
# alone scales raise its loss; a feature that is the answer in training alone does that too. So are
# those to vanishing_through_time: what saturates forgets, and a network that is hardly moved keeps
# the short reach it starts with. What makes the gradient small, or rounds or refuses the update,
# makes a step small at any rate. A decay that outweighs the gradient makes large steps, and uphill
# ones; dropout makes the first loss high.
EDGES: Mapping[str, tuple[str, ...]] = {
    "input_scale": (
        "poor_initialization",
        "saturated_units",
        "exploding_gradient",
        "dead_units",
        "learning_rate_too_high",
        "learning_rate_too_low",
        "overfitting",
        SYMPTOM,
    ),
    "poor_initialization": (
        "saturated_units",
        "vanishing_gradient",
        "exploding_gradient",
        "dead_units",
        "output_logits",
        "learning_rate_too_high",
        "vanishing_through_time",
        "representation_collapse",
        "layer_imbalance",
        "learning_rate_too_low",
        SYMPTOM,
    ),
    "saturated_units": ("vanishing_gradient", "vanishing_through_time", "learning_rate_too_low"),
    "learning_rate_too_high": (
        "update_ratio",
        "exploding_gradient",
        "loss_spike",
        "dead_units",
        "saturated_units",
        "gradient_oscillation",
        "attention_logits",
        "output_logits",
        "class_collapse",
        "layer_imbalance",
        "adam_second_moment",
        "vanishing_through_time",
        "representation_collapse",
        SYMPTOM,
    ),
    "schedule": ("learning_rate_too_high", "learning_rate_too_low", "loss_spike"),
    "exploding_gradient": (
        "loss_spike",
        "adam_second_moment",
        "clip_saturation",
        "loss_scaler",
        "non_finite",
        "dead_units",
        "vanishing_through_time",
        "output_logits",
    ),
    "attention_logits": ("loss_spike", "layer_imbalance", SYMPTOM),
    "output_logits": ("loss_spike", "layer_imbalance", SYMPTOM),
    "adam_second_moment": ("loss_spike",),
    # Weights that a rate too high throws about are no finding: their pace changes.
    "weight_norm_growth": (
        "learning_rate_too_high",
        "exploding_gradient",
        "attention_logits",
        "output_logits",
        "saturated_units",
        "overfitting",
        "loss_spike",
        SYMPTOM,
    ),
    "loss_spike": ("non_finite",),
    "non_finite": ("loss_scaler",),
    "gradients_not_cleared": (
        "exploding_gradient",
        "learning_rate_too_high",
        "weight_norm_growth",
        "gradient_oscillation",
        "clip_saturation",
    ),
    "loss_multiplier": (
        "learning_rate_too_high",
        "learning_rate_too_low",
        "clip_saturation",
        "epsilon_domination",
    ),
    "gradient_ascent": (
        "exploding_gradient",
        "output_logits",
        "weight_norm_growth",
        "non_finite",
        "learning_rate_too_high",
        SYMPTOM,
        "class_collapse",
    ),
    "dead_units": (
        "loss_spike",
        "representation_collapse",
        "epsilon_domination",
        "layer_imbalance",
        "learning_rate_too_low",
        SYMPTOM,
    ),
    "vanishing_gradient": (
        "layer_imbalance",
        "representation_collapse",
        "epsilon_domination",
        "learning_rate_too_low",
        SYMPTOM,
    ),
    "vanishing_through_time": ("layer_imbalance", SYMPTOM),
    "unchanged_parameters": ("learning_rate_too_low", "vanishing_through_time", SYMPTOM),
    "low_precision_updates": ("learning_rate_too_low", "vanishing_through_time", SYMPTOM),
    "epsilon_domination": ("learning_rate_too_low", "vanishing_through_time", SYMPTOM),
    "over_regularized": (
        "poor_initialization",
        "dead_units",
        "vanishing_gradient",
        "vanishing_through_time",
        "representation_collapse",
        "learning_rate_too_high",
        "update_ratio",
        "gradient_ascent",
        "learning_rate_too_low",
        SYMPTOM,
    ),
    "learning_rate_too_low": ("vanishing_through_time", SYMPTOM),
    # Raw logits in nll_loss make it negative, as a loss that is climbed.
    "softmax_into_cross_entropy": ("gradient_ascent", "learning_rate_too_low", SYMPTOM),
    "train_eval_mode": (SYMPTOM, "overfitting"),
    "repeated_batch": (SYMPTOM, "overfitting"),
    "loss_scaler": ("learning_rate_too_low", SYMPTOM),
    "label_noise": (SYMPTOM, "overfitting"),
    "leakage": ("overfitting",),
    SYMPTOM: ("loss_plateau", "class_collapse"),
}


def descendants(cause: str) -> frozenset[str]:
    """Everything that a cause may bring about, over any number of edges."""
    reached: set[str] = set()
    waiting = list(EDGES.get(cause, ()))
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(EDGES.get(name, ()))
    return frozenset(reached)


def ancestors(effect: str) -> frozenset[str]:
    """Every cause that may bring an effect about, over any number of edges."""
    return frozenset(cause for cause in EDGES if effect in descendants(cause))


def ordered(
    findings: Sequence[Finding], *, tier_ranks: Mapping[str, int], period: int
) -> tuple[Finding, ...]:
    """Roots first, each followed by its consequences; `consequence_of` names the root.

    Args:
        findings: At most one per detector.
        tier_ranks: Rank of each detector's tier, 0 first: invariants outrank statistics.
        period: Usual steps between two samples.
    """
    ranked = sorted(findings, key=lambda f: _rank(f, tier_ranks))
    roots: list[Finding] = []
    followers: dict[str, list[Finding]] = {}
    for finding in ranked:
        root = _root_of(finding, ranked, period)
        if root is None:
            roots.append(finding)
        else:
            followers.setdefault(root, []).append(replace(finding, consequence_of=root))
    return tuple(entry for root in roots for entry in (root, *followers.get(root.detector, [])))


def _rank(finding: Finding, tier_ranks: Mapping[str, int]) -> tuple[bool, int, int, int, str]:
    first = finding.first_step if finding.first_step is not None else 0
    return (
        finding.severity is Severity.INFO,
        tier_ranks.get(finding.detector, len(tier_ranks)),
        finding.severity.rank,
        first,
        finding.detector,
    )


def _root_of(finding: Finding, ranked: Sequence[Finding], period: int) -> str | None:
    """The best-ranked ancestor that has no ancestor itself; None for a root."""
    for cause in ranked:
        if _causes(cause, finding, period) and not any(
            _causes(other, cause, period) for other in ranked
        ):
            return cause.detector
    return None


def _causes(cause: Finding, effect: Finding, period: int) -> bool:
    if cause.detector == effect.detector or cause.severity is Severity.INFO:
        return False
    if cause.detector in effect.rules_out:
        return False
    if effect.detector == SYMPTOM:
        return cause.detector not in NOT_A_CAUSE
    if cause.detector == SYMPTOM:  # it has held since the start, and is told after 100 steps
        return effect.detector in descendants(SYMPTOM)
    since = cause.first_step if cause.earliest is None else cause.earliest
    in_time = (since or 0) <= (effect.first_step or 0) + period
    return in_time and effect.detector in descendants(cause.detector) | cause.brings
