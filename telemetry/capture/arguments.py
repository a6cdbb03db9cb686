"""Arguments of TelemetryCallback: what is wrong with them is told before anything is recorded."""

import math
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn
from torch.optim import Optimizer

from telemetry.capture.steps.options import OnFinding
from telemetry.errors import UsageError
from telemetry.format.flight_ring import LARGEST_RING
from telemetry.format.runs import local_folder
from telemetry.requests.models import ExplainSpec

EXPECTED_OPTIMIZER = (
    "expected a torch.optim.Optimizer or a list of them. For a wrapper, pass the optimizer "
    "inside it (often `wrapper.optimizer`); without an optimizer, pass None and call step() "
    "yourself."
)

Every = int | Literal["auto"]

LABEL_LIMIT = 200  # characters of a project's name
SHOWN = 40  # characters of a value that is wrong


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
            raise TypeError(f"optimizer contains a {type(entry).__name__}, {EXPECTED_OPTIMIZER}")
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
    return _whole("every", every, least=1, expected="a number of steps or 'auto'")


def checked_share(share: float | None) -> float | None:
    """A share of the time; None: no limit.

    Raises:
        UsageError: not within 0 to 1.
    """
    if share is None:
        return None
    number = _real("overhead_budget", share, expected="a share of the elapsed time or None")
    if not 0 <= number <= 1:
        raise UsageError(
            f"overhead_budget={share} must be a share of the elapsed time, from 0 to 1."
        )
    return number


def checked_allowance(seconds: float) -> float:
    """Seconds that recording may take in any case.

    Raises:
        TypeError: no number.
        UsageError: below 0.
    """
    number = _real("overhead_allowance_s", seconds, expected="a number of seconds")
    if not number >= 0:
        raise UsageError(f"overhead_allowance_s={seconds} must be 0 seconds or more.")
    return number


def checked_total(n_steps: float | None) -> int | None:
    """Planned optimizer steps; None: not known.

    Raises:
        TypeError: no number.
        UsageError: not a whole one of at least 1.
    """
    if n_steps is None:
        return None
    return _whole("total_steps", n_steps, least=1, expected="a number of steps or None")


def checked_switch(name: str, value: object) -> bool:
    """A flag.

    Raises:
        TypeError: neither true nor false.
    """
    if isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in {0, 1}):
        return bool(value)
    raise TypeError(f"{name} is {_shown(value)}, expected True or False.")


def checked_store(store: str | os.PathLike[str] | None) -> Path | None:
    """The folder of the runs; None: as configured.

    Raises:
        TypeError: no path.
        UsageError: an address on a network.
    """
    if store is None or store == "":
        return None
    path = os.fspath(store) if isinstance(store, str | os.PathLike) else None
    if not isinstance(path, str):
        raise TypeError(f"store is {_shown(store)}, expected the path of a folder.")
    return local_folder(path)


def checked_project(project: str) -> str:
    """The project's name.

    Raises:
        UsageError: longer than a name.
    """
    name = str(project)
    if len(name) > LABEL_LIMIT:
        raise UsageError(
            f"project={name[:SHOWN]!r}… has {len(name)} characters; {LABEL_LIMIT} are allowed."
        )
    return name


def checked_flight(n_steps: int | None) -> int:
    """Steps of the flight recorder, 0 for none.

    Raises:
        TypeError: no number.
        UsageError: too many.
    """
    if n_steps is None:
        return 0
    return _whole(
        "flight_recorder",
        n_steps,
        least=0,
        most=LARGEST_RING,
        expected="a number of steps or None",
    )


def checked_resume(resume: str | None) -> str | None:
    """What to resume.

    Raises:
        TypeError: no text.
        UsageError: an empty one.
    """
    if resume is not None and not isinstance(resume, str):
        raise TypeError(f"resume is {resume!r}, expected 'auto', the id of a run, or None.")
    if resume == "":
        raise UsageError("resume='' does not name a run: pass 'auto', the id of a run, or None.")
    return resume


def checked_reaction(on_finding: OnFinding | None) -> OnFinding | None:
    """How findings are told.

    Raises:
        TypeError: none of the ways.
    """
    if not (on_finding is None or callable(on_finding) or on_finding in ("warn", "stop")):
        raise TypeError(f"on_finding is {on_finding!r}, expected 'warn', 'stop' or a function.")
    return on_finding


def checked_texts(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Tags, or remedies, as texts; a single one may stand alone.

    Raises:
        TypeError: no list.
    """
    if texts is None or isinstance(texts, str):
        return (texts,) if texts else ()
    try:
        return tuple(str(text) for text in texts)
    except TypeError as error:
        raise TypeError(f"{name} is {_shown(texts)}, expected a list of texts.") from error


def checked_spec(explain: ExplainSpec | None) -> ExplainSpec | None:
    """How the model can be built again.

    Raises:
        TypeError: no ExplainSpec.
    """
    if explain is not None and not isinstance(explain, ExplainSpec):
        raise TypeError(f"explain is a {type(explain).__name__}, expected a telemetry.ExplainSpec.")
    return explain


def _whole(name: str, value: object, *, least: int, expected: str, most: int = 2**63 - 1) -> int:
    """A plain integer: of numpy's and torch's too, and of a float without a fraction, as 1e4 is.

    What reaches run.json must be what a reader expects there.
    """
    number: object = value
    if not isinstance(value, bool | np.bool_ | float):
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError):
            number = _real(name, value, expected=expected)
    elif not isinstance(value, float):
        raise TypeError(f"{name} is {value!r}, expected {expected}.")
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or not least <= number <= most:
        allowed = f"at least {least}" if most == 2**63 - 1 else f"{least} to {most}"
        raise UsageError(f"{name}={_shown(value)} must be a whole number of steps, {allowed}.")
    return number


def _real(name: str, value: object, *, expected: str) -> float:
    """A plain float that is a number."""
    if isinstance(value, bool | np.bool_ | str | bytes | complex):
        raise TypeError(f"{name} is {_shown(value)}, expected {expected}.")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{name} is {_shown(value)}, expected {expected}.") from error
    if math.isnan(number):
        raise UsageError(f"{name}={value} is not a number; expected {expected}.")
    return number


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
