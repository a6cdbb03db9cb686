"""Units that never fire on any data, in numbers that hurt.

Symptom: in three windows of at least 8 sampled batches and 512 positions, three quarters of a
layer's units output nothing, while the loss has stopped improving; 99 % block the network. No
window is needed where a layer has put out nothing but zeros in its last 8 samples or more.
Fix: lower the learning rate, use He initialisation, a bias that is not negative, or LeakyReLU/GELU.
Not flagged: activations that are zero on most inputs but fire on some; wide dictionaries (sparse
autoencoders of four times as many units as inputs); layers of fewer than eight units unless all are
dead; a network that learns, below 90 % dead units.
Source: Lu et al., arXiv:1903.06733.

ReLU-like units fire above zero, smooth ones above a thousandth of the layer's RMS.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.activation_sites import Site, site_grid, sites
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.loss_units import CROSS_ENTROPIES
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray
from telemetry.diagnose.judgement.severity import Size, statistical
from telemetry.diagnose.wording import and_more, example, number
from telemetry.store.sessions.rows import Rows

ID = "dead_units"
DEAD_LIMIT = 0.75  # healthy at most 0.58 (first step), 0.34 (trained); faults 0.94 to 1.0
DEAD_INFO = 0.5
DEAD_ANY_STATE = 0.9  # beyond anything healthy but dictionaries
DEAD_ERROR = 0.99
MIN_WINDOWS = 3
SILENT_SAMPLES = 8  # as many as a window has at least
COMPLETE_WINDOW = 512  # positions; rows below belong to a window that is not full
SMALL_LAYER = 8
DICTIONARY_FACTOR = 4
JUMP = 0.25

SQL = """
SELECT
    'dead' AS signal, r.step, m.path AS layer, r.site, r.n_units,
    CAST(r.n_dead AS DOUBLE) / r.n_units AS value
FROM dead_points AS r
JOIN modules AS m ON m.run = r.run AND m.module_id = r.module_id
WHERE r.run = $run AND r.phase = 'train' AND r.n_units > 0
    AND r.window_samples >= $window_positions
UNION ALL
SELECT
    'silent' AS signal, r.step, m.path AS layer, r.site, MAX(r.n_units) AS n_units,
    CASE WHEN SUM(r.n_zero) = SUM(r.n) THEN 1.0 ELSE 0.0 END AS value
FROM module_numbers AS r
JOIN modules AS m ON m.run = r.run AND m.module_id = r.module_id
WHERE r.run = $run AND r.phase = 'train' AND r.n > 0 AND r.n_zero IS NOT NULL
GROUP BY r.step, m.path, r.site
ORDER BY 2, 3, 4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dead:
    """One site whose units die."""

    site: Site
    share: float
    first: float
    first_step: int
    last_step: int
    jump_step: int
    earliest: int
    silent_samples: int = 0  # the last ones, where no window was needed


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Sites with dead windows, the first in the order of execution named first."""
    known = sites(rows, context.network)
    observed = [(site, *site_grid(rows, site, "dead")) for site in known]
    found = [
        dead
        for site, steps, shares in observed
        if (dead := _dead(site, steps, shares, limits["dead_info"], context.sampled_steps))
        or (dead := _silent(site, *site_grid(rows, site, "silent")))
    ]
    n_windows = max((steps.size for _, steps, _ in observed), default=0)
    if not found and not n_windows:
        return NotChecked(
            detector=ID,
            reason=f"no window of 8 sampled batches and {limits['window_positions']:.0f} "
            "positions is complete yet; train longer or sample more steps",
        )
    if not found and n_windows < MIN_WINDOWS:
        return NotChecked(
            detector=ID, reason=f"fewer than {MIN_WINDOWS} complete windows; train longer"
        )
    serious = [dead for dead in found if dead.share >= limits["dead_limit"]]
    chosen = serious or found
    return _finding(chosen, context, limits) if chosen else None


def _dead(
    site: Site, steps: IntArray, shares: FloatArray, limit: float, sampled: IntArray
) -> _Dead | None:
    """The site if its last windows are dead: three in a row at the end, and what went before."""
    needed = limit if site.n_units >= SMALL_LAYER else 1.0
    if shares.size < MIN_WINDOWS or (shares[-MIN_WINDOWS:] < needed).any():
        return None
    held: BoolArray = shares >= needed
    lasting = np.flatnonzero(~held)
    start = int(lasting[-1]) + 1 if lasting.size else 0
    rises = np.flatnonzero(shares - shares[0] >= JUMP)
    return _Dead(
        site=site,
        share=float(np.median(shares[start:])),
        first=float(shares[0]),
        first_step=_window_start(steps, start, sampled),
        last_step=int(steps[-1]),
        jump_step=int(steps[rises[0]]) if rises.size else int(steps[start]),
        # They may have died within the window before.
        earliest=_window_start(steps, max(0, start - 1), sampled),
    )


def _silent(site: Site, steps: IntArray, silent: FloatArray) -> _Dead | None:
    """The site if every element of its last samples is zero: all of its units are dead."""
    fired = np.flatnonzero(silent < 1)
    start = int(fired[-1]) + 1 if fired.size else 0
    if steps.size - start < SILENT_SAMPLES or site.n_units < SMALL_LAYER:
        return None
    return _Dead(
        site=site,
        share=1.0,
        first=float(silent[0]),
        first_step=int(steps[start]),
        last_step=int(steps[-1]),
        jump_step=int(steps[start]),
        earliest=int(steps[max(0, start - 1)]),
        silent_samples=steps.size - start,
    )


def _window_start(steps: IntArray, place: int, sampled: IntArray) -> int:
    """First sample of a window, which is recorded at its last: a dead unit was dead in all."""
    inside = sampled[sampled > steps[place - 1]] if place else sampled
    return int(min(steps[place], inside[0])) if inside.size else int(steps[place])


def _size(dead: _Dead, context: RunContext, limits: Limits) -> Size:
    if dead.share < limits["dead_limit"] or _is_dictionary(dead.site, context):
        return Size.SLIGHT
    if dead.share >= limits["dead_error"]:
        return Size.TOTAL
    return Size.FAR if dead.share >= limits["dead_any_state"] else Size.CLEAR


def _is_dictionary(site: Site, context: RunContext) -> bool:
    """A wide code that is decoded to the size it came from, in a net that does not classify."""
    if context.baseline.kind in CROSS_ENTROPIES:
        return False
    matrices = context.network.matrices
    for code, decoder in itertools.pairwise(matrices):
        wide = code.rows >= DICTIONARY_FACTOR * code.fan_in
        if wide and code.rows == site.n_units == decoder.fan_in and decoder.rows == code.fan_in:
            return True
    return False


def _finding(found: list[_Dead], context: RunContext, limits: Limits) -> Candidate:
    sizes = [_size(dead, context, limits) for dead in found]
    best = max(sizes)
    least = min(best, Size.CLEAR) if context.reach.fails else best
    # What dies first in the order of execution silences what follows: it is named, however many
    # units the later ones lost.
    chosen = [dead for dead, size in zip(found, sizes, strict=True) if size >= least]
    worst = chosen[0]
    names = tuple(dict.fromkeys(dead.site.named for dead in chosen))
    rate = context.lr_at(worst.jump_step)
    n_dead = round(worst.share * worst.site.n_units)
    where = f"windows of at least {limits['window_positions']:.0f} positions"
    if worst.silent_samples:
        where = f"the last {worst.silent_samples} samples"
    return Candidate(
        strength=statistical(best),
        message=f"{n_dead} of {worst.site.n_units} units of {and_more(names)} never fired in "
        f"{where} ({worst.share:.0%}, limit {limits['dead_limit']:.0%})",
        advice=f"Divide the learning rate ({number(rate)} at step {worst.jump_step}) by 4, use He "
        "initialisation without negative bias, or LeakyReLU or GELU.",
        layer=worst.site.named,
        layers=names,
        first_step=worst.first_step,
        last_step=max(dead.last_step for dead in chosen),
        earliest=worst.earliest,
        value=worst.share,
        threshold=limits["dead_limit"],
        unit="share",
        evidence={
            "dead_share": {dead.site.shown: dead.share for dead in chosen[:20]},
            "first_window": worst.first,
            "jump_step": worst.jump_step,
            "state": context.progress.state,
            "query": example(
                "activations", "step, layer, site, dead_share", where="dead_share is not null"
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="units that never fire",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.DEAD, Need.LOSS),
    sql=SQL,
    parameters={
        "dead_limit": DEAD_LIMIT,
        "dead_info": DEAD_INFO,
        "dead_any_state": DEAD_ANY_STATE,
        "dead_error": DEAD_ERROR,
        "window_positions": COMPLETE_WINDOW,
    },
    advice="Lower the learning rate, use He initialisation, or LeakyReLU or GELU.",
    source="arXiv:1903.06733",
    judge=judge,
    # What makes the gradient small makes a step small at any rate.
    causes=(
        "loss_spike",
        "representation_collapse",
        "epsilon_domination",
        "layer_imbalance",
        "learning_rate_too_low",
        "loss_not_decreasing",
    ),
    acts_by=(Mechanism.SMALL_GRADIENTS,),
    shares=(
        "dead_limit",
        "dead_info",
        "dead_any_state",
        "dead_error",
    ),
    shown=Shown(
        unit="share",
        normal="Most units fire for some of the inputs; up to half of a layer may be silent "
        "without harm.",
    ),
)
