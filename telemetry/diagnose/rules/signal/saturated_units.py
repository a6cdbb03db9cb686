"""Bounded activations sit on their asymptotes, where nothing passes back.

Symptom: at the first step half of the entries of a tanh or sigmoid layer have a derivative below
0.06, or later half of its units a mean derivative below 0.05, while the loss does not fall.
Fix: scale the inputs and the initialisation (pre-activations of about one), or use ReLU.
Not flagged: the last activation of the network (policies, decoders and generators squash their
output); gates: a sigmoid in a module that also applies tanh, and fused recurrent cells; networks
that saturate while they learn, as tanh networks do.
Source: Glorot and Bengio 2010; He et al., arXiv:1502.01852.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.activation_sites import Site, hidden_sites, site_grid, sure_layer
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import persistence
from telemetry.diagnose.judgement.severity import statistical
from telemetry.diagnose.wording import and_more, example
from telemetry.store.sessions.rows import Rows

ID = "saturated_units"
ENTRY_LIMIT = 0.5  # of the entries at the first step; healthy at most 0.04, faults 0.80 to 0.95
UNIT_LIMIT = 0.5  # of the units; healthy at most 0.03 after 300 steps, faults 0.20 to 0.91

SQL = """
SELECT
    a.site,
    'entries' AS signal,
    a.step,
    a.layer,
    a.n_units,
    a.saturated_entry_share AS value
FROM activations AS a
WHERE a.run = $run
    AND a.phase = 'train'
    AND a.saturated_share IS NOT NULL
UNION ALL
SELECT
    a.site,
    'units' AS signal,
    a.step,
    a.layer,
    a.n_units,
    a.saturated_share AS value
FROM activations AS a
WHERE a.run = $run
    AND a.phase = 'train'
    AND a.saturated_share IS NOT NULL
ORDER BY signal, step, layer, site
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Saturated:
    """One saturated site."""

    site: Site
    at_start: bool
    share: float
    first_step: int
    last_step: int


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Hidden bounded activations, the first in the order of execution named first."""
    sites = [site for site in hidden_sites(rows, context.network) if not _is_gate(site, rows)]
    if not sites:
        return NotChecked(
            detector=ID, reason="tanh and sigmoid are only used as gates or outputs", absent=True
        )
    found = [entry for site in sites if (entry := _saturated(site, rows, context, limits))]
    if not found:
        return None
    worst = found[0]
    names = tuple(dict.fromkeys(entry.site.shown for entry in found))
    layers = tuple(sure_layer(entry.site, sites, context.network) for entry in found)
    what = "entries" if worst.at_start else "units"
    when = f" at step {worst.first_step}" if worst.at_start else ""
    limit = limits["entry_limit" if worst.at_start else "unit_limit"]
    return Candidate(
        strength=statistical(),
        message=f"{worst.share:.0%} of the {what} of {and_more(names)} are saturated{when} "
        f"(limit {limit:.0%})",
        advice="Scale the inputs and the initial weights so that pre-activations have a standard "
        "deviation of about one, or use ReLU.",
        layer=layers[0],
        layers=tuple(dict.fromkeys(layers)),
        first_step=worst.first_step,
        last_step=max(entry.last_step for entry in found),
        value=worst.share,
        threshold=limit,
        unit="share",
        evidence={
            "sites": list(names[:20]),
            "state": context.progress.state,
            "query": example(
                "activations",
                "step, layer, site, saturated_share, saturated_entry_share",
                where="saturated_share is not null and phase = 'train'",
            ),
        },
    )


def _is_gate(site: Site, rows: Rows) -> bool:
    """A functional sigmoid beside a tanh of the same module is a gate of a recurrent cell."""
    if not site.site.startswith("sigmoid#"):
        return False
    pairs = zip(rows.texts("layer"), rows.texts("site"), strict=True)
    return any(layer == site.layer and other.startswith("tanh#") for layer, other in pairs)


def _saturated(site: Site, rows: Rows, context: RunContext, limits: Limits) -> _Saturated | None:
    units_steps, units = site_grid(rows, site, "units")
    held = persistence(units_steps, units >= limits["unit_limit"], start=context.warm_in)
    if held is not None:
        return _Saturated(
            site=site,
            at_start=False,
            share=float(np.median(units[held.where])),
            first_step=held.first_step,
            last_step=held.last_step,
        )
    steps, entries = site_grid(rows, site, "entries")
    at_start = bool(steps.size) and steps[0] == 0
    if not at_start or not entries[0] >= limits["entry_limit"]:
        return None
    return _Saturated(site=site, at_start=True, share=float(entries[0]), first_step=0, last_step=0)


DETECTOR = Detector(
    id=ID,
    title="tanh or sigmoid units are saturated",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.SATURATED, Need.LOSS),
    sql=SQL,
    parameters={
        "entry_limit": ENTRY_LIMIT,
        "unit_limit": UNIT_LIMIT,
    },
    advice="Scale inputs and initialisation, or use ReLU.",
    source="Glorot and Bengio 2010, arXiv:1502.01852",
    judge=judge,
    # What saturates forgets, and its gradient is small: so are its steps, at any rate.
    causes=("vanishing_gradient", "vanishing_through_time", "learning_rate_too_low"),
    acts_by=(Mechanism.SMALL_GRADIENTS,),
    shares=(
        "entry_limit",
        "unit_limit",
    ),
    shown=Shown(
        unit="share",
        normal="Only a few units are saturated for a whole batch.",
    ),
)
