"""How findings say numbers, layers and the query behind them."""

from collections.abc import Sequence

from telemetry.diagnose.finding import Severity
from telemetry.diagnose.judgement.progress import Progress
from telemetry.store.sql import quoted

MATRICES = "parameter not like '%bias'"  # of the evidence: what carries the signal


def number(value: float) -> str:
    """Three significant digits, no exponent for everyday sizes: `0.012`, `12 200`, `1.28e+07`."""
    text = f"{value:.3g}"
    is_everyday = 1e3 <= abs(float(text)) < 1e6  # noqa: PLR2004 - a thousand, a million
    return f"{float(text):,.0f}".replace(",", " ") if is_everyday else text


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


def gated(
    progress: Progress, *, failing: Severity = Severity.WARNING, extreme: bool = False
) -> Severity:
    """Severity of a statistical finding, softened by progress.

    What would be a warning in a run that fails to learn is information in one that learns, unless
    it lies far outside anything healthy (`extreme`); where the loss does not measure progress it is
    information.
    """
    if progress.failing:
        return failing
    return Severity.WARNING if extreme and progress.measurable else Severity.INFO
