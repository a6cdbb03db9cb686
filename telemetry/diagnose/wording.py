"""How findings say numbers, layers and the query behind them."""

import math
from collections.abc import Sequence

from telemetry.diagnose.judgement.loss_units import CROSS_ENTROPIES
from telemetry.diagnose.judgement.progress import Baseline
from telemetry.format.loss_operations import BINARY
from telemetry.store.sessions.sql import quoted

MATRICES = "parameter not like '%bias'"  # of the evidence: what carries the signal
MOST_BITS = 1000.0  # a float holds no larger power of two than 1023
MILLION = 1e6
MOST_NATS = 30.0  # e^30 classes are more than any classifier has


def number(value: float) -> str:
    """Three significant digits, no exponent for everyday sizes: `0.012`, `12 200`, `1.28e+07`."""
    text = f"{value:.3g}"
    is_everyday = 1e3 <= abs(float(text)) < 1e6  # noqa: PLR2004 - a thousand, a million
    return f"{float(text):,.0f}".replace(",", " ") if is_everyday else text


def times(bits: float) -> str:
    """A ratio given in bits as a factor: `7×`, `130×`; two decimals below two, as `1.52×`."""
    factor = 2.0 ** min(bits, MOST_BITS)
    two_digits = float(f"{factor:.2g}")
    if MILLION <= two_digits < MILLION**2:
        return f"{two_digits:,.0f}×".replace(",", " ")
    return f"{number(two_digits)}×" if factor >= 2 else f"{factor:.2f}×"  # noqa: PLR2004


def guess(levels: Baseline) -> str:
    """The answer that `levels.naive` is the score of."""
    guesses = levels.kind in CROSS_ENTROPIES | BINARY
    return "random guessing" if guesses else "always answering zero"


def guessing_score(levels: Baseline) -> str:
    """What the best answer that ignores the input scores: `random guessing scores 2.30 (ln 10)`."""
    naive, constant = levels.naive, levels.constant
    level = constant or naive
    if level is None:
        return ""
    if levels.kind not in CROSS_ENTROPIES | BINARY or naive is None:
        answer = "the best constant answer" if constant else guess(levels)
        return f"{answer} scores {number(level)}"
    n_classes = round(math.exp(min(naive, MOST_NATS)))
    of_classes = n_classes > 1 and f"{naive:.2f}" == f"{math.log(n_classes):.2f}"
    if of_classes and f"{level:.2f}" == f"{naive:.2f}":
        return f"random guessing scores {level:.2f} (ln {n_classes})"
    answer = "guessing by the frequencies of the labels" if constant else guess(levels)
    return f"{answer} scores {number(level)}"


def and_more(names: Sequence[str]) -> str:
    """The first name and how many follow."""
    first = names[0] or "the model"
    return first if len(names) == 1 else f"{first} (and {len(names) - 1} more)"


def example(
    view: str,
    columns: str,
    *,
    last_step: int | None = None,
    layer: str | None = None,
    where: str = "",
) -> str:
    """A statement that a user may give to `telemetry query --run ID`.

    Its columns are `step`, then texts that say of what, then numbers: first what was judged.
    """
    conditions = [where] if where else []
    if layer is not None:
        conditions.append(f"layer = {quoted(layer)}")
    if last_step is not None:
        conditions.append(f"step <= {last_step}")
    chosen = f" where {' and '.join(conditions)}" if conditions else ""
    # A text for the user to run, not a statement that runs here; the layer is quoted above.
    return f"select {columns} from {view}{chosen} order by step"  # noqa: S608


def of_parameters(columns: str, *, where: str) -> str:
    """The same over what was recorded of tensors (p), with the catalogue (t) for their names."""
    joined = "tensor_points as p join tensors as t on t.run = p.run and t.tensor_id = p.param_id"
    return f"select {columns} from {joined} where p.{where} order by p.step"  # noqa: S608 - as above
