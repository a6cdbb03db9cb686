"""Arguments of TelemetryCallback: what is wrong with them is told before anything is recorded."""

from collections.abc import Sequence
from typing import Literal

from torch import nn
from torch.optim import Optimizer

from telemetry.capture.finding_news import OnFinding
from telemetry.errors import UsageError
from telemetry.explain_request import ExplainSpec
from telemetry.flight_ring import LARGEST_RING

EXPECTED_OPTIMIZER = (
    "expected a torch.optim.Optimizer or a list of them. Of a wrapper, pass the one inside it "
    "(often `wrapper.optimizer`); a loop without any passes None and calls step() itself."
)

Every = int | Literal["auto"]


def checked_optimizers(
    model: nn.Module, optimizer: Optimizer | Sequence[Optimizer] | None
) -> list[Optimizer]:
    """The optimizers, each the innermost of its wrappers.

    Raises:
        TypeError: model or optimizer is none.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, expected a torch.nn.Module.")
    if optimizer is None:
        return []
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else optimizer
    if not isinstance(optimizers, Sequence) or not optimizers:
        raise TypeError(f"optimizer is a {type(optimizer).__name__}, {EXPECTED_OPTIMIZER}")
    for entry in optimizers:
        if not isinstance(entry, Optimizer):
            raise TypeError(f"optimizer holds a {type(entry).__name__}, {EXPECTED_OPTIMIZER}")
    return [_innermost(entry) for entry in optimizers]


def _innermost(optimizer: Optimizer) -> Optimizer:
    """The one inside a wrapper that is an optimizer by name alone, as that of Accelerate is.

    It never initialised its base class, so it has no hooks.
    """
    while not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        inner = getattr(optimizer, "optimizer", None)
        if not isinstance(inner, Optimizer):
            break
        optimizer = inner
    return optimizer


def checked_every(every: Every) -> int | None:
    """Steps between samples; None: the budget decides.

    Raises:
        TypeError: no number.
        UsageError: below 1.
    """
    if every == "auto":
        return None
    if not isinstance(every, int) or isinstance(every, bool):
        raise TypeError(f"every is {every!r}, expected a number of steps or 'auto'.")
    if every < 1:
        raise UsageError(f"every={every} must be at least 1.")
    return every


def checked_share(share: float | None) -> float | None:
    """A share of the time; None: no limit.

    Raises:
        UsageError: not within 0 to 1.
    """
    if share is None:
        return None
    if not 0 <= float(share) <= 1:
        raise UsageError(f"overhead_budget={share} is a share of the elapsed time: 0 to 1.")
    return float(share)


def checked_flight(n_steps: int | None) -> int:
    """Steps of the flight recorder, 0 for none.

    Raises:
        TypeError: no number.
        UsageError: too many.
    """
    if n_steps is None:
        return 0
    if not isinstance(n_steps, int) or isinstance(n_steps, bool):
        raise TypeError(f"flight_recorder is {n_steps!r}, expected a number of steps or None.")
    if not 0 <= n_steps <= LARGEST_RING:
        raise UsageError(f"flight_recorder={n_steps} must be 0 to {LARGEST_RING} steps.")
    return n_steps


def checked_resume(resume: str | None) -> str | None:
    """What to resume.

    Raises:
        TypeError: no text.
        UsageError: an empty one.
    """
    if resume is not None and not isinstance(resume, str):
        raise TypeError(f"resume is {resume!r}, expected 'auto', the id of a run, or None.")
    if resume == "":
        raise UsageError("resume='' names no run: pass 'auto', the id of a run, or None.")
    return resume


def checked_reaction(on_finding: OnFinding | None) -> OnFinding | None:
    """How findings are told.

    Raises:
        TypeError: none of the ways.
    """
    if not (on_finding is None or callable(on_finding) or on_finding in ("warn", "stop")):
        raise TypeError(f"on_finding is {on_finding!r}, expected 'warn', 'stop' or a function.")
    return on_finding


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags as texts; a single one may stand alone."""
    return (tags,) if isinstance(tags, str) else tuple(str(tag) for tag in tags)


def checked_spec(explain: ExplainSpec | None) -> ExplainSpec | None:
    """How the model can be built again.

    Raises:
        TypeError: no ExplainSpec.
    """
    if explain is not None and not isinstance(explain, ExplainSpec):
        raise TypeError(f"explain is a {type(explain).__name__}, expected a telemetry.ExplainSpec.")
    return explain
