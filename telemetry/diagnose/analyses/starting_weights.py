"""What is wrong with the weights of a start: their size, and the first loss that it costs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Limits
from telemetry.diagnose.evidence.grids import Grid
from telemetry.diagnose.evidence.network import Network
from telemetry.diagnose.evidence.profiles import Profile, layer_profile
from telemetry.diagnose.evidence.weight_gains import first_gains, first_loops, table_gains
from telemetry.diagnose.judgement.progress import BASELINE_SHARE
from telemetry.diagnose.judgement.robust import median
from telemetry.diagnose.judgement.severity import Size, Strength, measured, statistical
from telemetry.diagnose.wording import and_more, guess, number, times
from telemetry.store.sessions.rows import Rows

START_LOSS_LIMIT = 14.0  # regressions by He's start: up to 6.9, cross-entropies up to 4.5
HIGH_START = 5.0  # times naive; with normalisation layers, and an end that is no better than naive
START_LOSS_ANY = 28.0  # 2 bits above anything healthy: a warning even in a run that learns
LARGE_GAIN = 6.0  # healthy at most 1.5 at the start, 4.0 when trained; faults from 9
LARGE_SIGNAL = 2.0  # standard deviation of the pre-activations behind such weights; faults from 5
SMALL_GAIN = 0.1  # healthy from 0.5 at the start, 0.17 when trained; faults up to 0.06
SMALL_LOSS = 2.75  # bits a layer toward the input behind such weights; healthy 1.75, faults 3.76
MIN_CHAIN = 3  # layers
SATURATED_SHARE = 0.5  # of the entries; healthy at most 0.04 at the start
EXTREME_GAIN = 4.0  # beyond the limit: small, or with a high first loss, a warning in any state


@dataclass(frozen=True, slots=True, kw_only=True)
class BadStart:
    """One thing that is wrong with the weights a run starts with."""

    strength: Strength
    message: str
    layers: tuple[str, ...]
    value: float
    threshold: float
    unit: str


def usual_gain(
    signals: Mapping[str, Grid], rows: Rows, context: RunContext, limits: Limits
) -> BadStart | None:
    """Weights that are nearly all too large or too small; arguments as for `saturating_layer`."""
    gains = first_gains(signals["weight"], context.network)
    large = gains.usual >= limits["large_gain"]
    limit = limits["large_gain" if large else "small_gain"]
    if large:
        value = _first_signal(layer_profile(rows, context.network, "output"))
        said = f"pre-activations have a standard deviation of {number(value)}"
        held = value >= LARGE_SIGNAL
    elif gains.usual <= limit:
        value = _shrinking(layer_profile(rows, context.network, "output_grad"))
        said = f"gradients shrink {times(value)} per layer toward the input"
        held = value >= SMALL_LOSS
    else:
        return None
    if not held:
        return None
    normalised = any(module.role == "norm" for module in context.network.modules)
    undone = normalised and not _costs_the_run(context)
    # Weights that start small make a start slow: most runs that learn have grown out of them.
    extreme = gains.usual <= limit / EXTREME_GAIN and not context.recovered
    strength = measured() if large else statistical(Size.FAR if extreme else Size.CLEAR)
    layers = gains.beyond(limit, large=large)
    return BadStart(
        strength=measured(Size.SLIGHT) if undone else strength,
        message=f"the weights of {and_more(layers)} start {'large' if large else 'small'}: "
        f"their usual gain, RMS × sqrt(fan-in), is {number(gains.usual)} (limit "
        f"{number(limit)}; common initialisations give 0.6 to 1.7), and {said}",
        layers=layers,
        value=gains.usual,
        threshold=limit,
        unit="gain",
    )


def _costs_the_run(context: RunContext) -> bool:
    """The first loss is high, and all that was learned since is not to be worse than guessing."""
    naive, end = context.baseline.naive, context.progress.end
    if naive is None or not context.first_loss >= HIGH_START * naive:
        return False
    return end >= BASELINE_SHARE * naive


def _first_signal(profile: Profile) -> float:
    """Usual size along the chain at the first sample; NaN where it was not observed."""
    return 2.0 ** median(profile.bits[0]) if profile.steps.size else float("nan")


def _shrinking(profile: Profile) -> float:
    """Bits a layer that the gradient loses from the head to the first layer at the first sample."""
    if profile.n_layers < MIN_CHAIN or not profile.steps.size:
        return float("nan")
    return float(-profile.drop[0]) / (profile.n_layers - 1)


def saturating_layer(
    signals: Mapping[str, Grid], rows: Rows, context: RunContext, limits: Limits
) -> BadStart | None:
    """Single layers of large weights, behind which a tanh or sigmoid sits on its asymptotes.

    Args:
        signals: `weight` by parameter, `saturated` (share of the entries) by module.
        rows: Standard deviations of the layers' outputs, as signal `output` by module.
        context: The run.
        limits: `large_gain`.
    """
    gains = first_gains(signals["weight"], context.network)
    limit = limits["large_gain"]
    if gains.usual >= limit:
        return None
    outputs = layer_profile(rows, context.network, "output")
    large = (
        dict(zip(outputs.layers, 2.0 ** outputs.bits[0], strict=True)) if outputs.steps.size else {}
    )
    found = [
        layer
        for layer in gains.beyond(limit, large=True)
        if large.get(layer, 0.0) >= LARGE_SIGNAL
        and _saturated_behind(signals["saturated"], context.network, layer) >= SATURATED_SHARE
    ]
    if not found:
        return None
    value = float(gains.values[gains.layers.index(found[0])])
    return BadStart(
        strength=measured(),
        message=f"the weights of {and_more(found)} start large: their gain, RMS × sqrt(fan-in), "
        f"is {number(value)} (limit {number(limit)}; {number(gains.usual)} in the "
        "median layer), and the activation after them is saturated",
        layers=tuple(found),
        value=value,
        threshold=limit,
        unit="gain",
    )


def _saturated_behind(shares: Grid, network: Network, layer: str) -> float:
    """Share of saturated entries in the module after a layer, or in the one that calls it."""
    depth = network.depth_of(layer)
    after = next((m for m in network.modules if m.depth > depth), None)
    caller = network.caller_of(layer)
    near = [m.id for m in network.modules if m is after or m.path == caller]
    return max((float(share) for one in near for share in shares.column(one)[:1]), default=0.0)


def recurrent_gain(
    signals: Mapping[str, Grid], context: RunContext, limits: Limits
) -> BadStart | None:
    """Recurrent weights of such a gain saturate or blow up the state that they read."""
    loops = first_loops(signals["weight"], signals["output"], context.network)
    if not loops.values.size or loops.signals is None:
        return None
    worst = int(np.argmax(np.where(loops.signals >= LARGE_SIGNAL, loops.values, 0.0)))
    value, signal = float(loops.values[worst]), float(loops.signals[worst])
    if value < limits["large_gain"] or signal < LARGE_SIGNAL:
        return None
    return BadStart(
        strength=measured(),
        message=f"the recurrent weights of {loops.layers[worst]} start large: their gain, RMS × "
        f"sqrt(fan-in), is {number(value)} (limit {number(limits['large_gain'])}; "
        f"common initialisations give 0.6 to 1), and the state adds {number(signal)} to "
        "pre-activations",
        layers=(loops.layers[worst],),
        value=value,
        threshold=limits["large_gain"],
        unit="gain",
    )


def start_loss(signals: Mapping[str, Grid], context: RunContext, limits: Limits) -> BadStart | None:
    """A first loss far above that of knowing nothing, with the layers whose weights are large.

    Where single layers start large, five times is enough: there are two signs then.
    """
    naive = context.baseline.naive
    gains = [of(signals["weight"], context.network) for of in (first_gains, table_gains)]
    large = {
        layer: float(value)
        for kind in gains
        for layer, value in zip(kind.layers, kind.values, strict=True)
        if value >= limits["large_gain"]
    }
    limit = limits["start_loss_limit"]
    if large and not gains[0].usual >= limits["large_gain"]:  # else `usual_gain` tells of them
        limit = min(HIGH_START, limit)
    if naive is None or not context.first_loss >= limit * naive:
        return None
    ratio = context.first_loss / naive
    worst = max(large.values(), default=0.0)
    layers = tuple(sorted(large, key=lambda layer: -large[layer]))
    said = (
        f"; the weights of {and_more(layers)} start with a gain of {number(worst)}" if large else ""
    )
    extreme = ratio >= START_LOSS_ANY or worst >= EXTREME_GAIN * limits["large_gain"]
    return BadStart(
        strength=statistical(Size.FAR if extreme else Size.CLEAR),
        message=f"the first loss is {number(context.first_loss)}, {number(ratio)}× the score of "
        f"{guess(context.baseline)} ({number(naive)}; limit {number(limit)}×)" + said,
        layers=layers,
        value=ratio,
        threshold=limit,
        unit="× naive",
    )
