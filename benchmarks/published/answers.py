"""What a diagnosis is held against: accepted.toml, older than the first run of each case."""

import tomllib
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

STORED = Path(__file__).with_name("accepted.toml")
REPORTING_SINCE = date(2026, 12, 3)  # cases frozen before have been reported, and are for tuning


class Half(StrEnum):
    """What a case is for."""

    TUNING = "tuning"
    REPORTING = "reporting"


class Evidence(StrEnum):
    """Where the fault shows first."""

    WIRING = "wiring"  # an invariant of the loop does not hold: optimizer, modes, graph, schedule
    SIGNAL = "signal"  # what activations and gradients are on their way through the layers
    STEPS = "steps"  # how long the steps are
    LOSS = "loss"  # what the loss is given, and what it makes of it
    DATA = "data"  # inputs, labels, and which examples come when


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to one case.

    Attributes:
        accepted: Detectors any of which tells the fault; none where none is made for it.
        evidence: Where the fault shows first.
        remains: Detectors that are right about the mended version as well.
        tuning: The case was used to change a rule, so that it is for tuning whatever day it is of.
        frozen: The day on which the answer was written down.
    """

    accepted: tuple[str, ...]
    evidence: Evidence
    remains: tuple[str, ...] = ()
    tuning: bool = False
    frozen: date


def answers() -> dict[str, Answer]:
    """By name of the case."""
    return {
        name: Answer(
            accepted=tuple(entry["accepted"]),
            evidence=Evidence(entry["evidence"]),
            remains=tuple(entry.get("remains", ())),
            tuning=entry.get("tuning", False),
            frozen=entry["frozen"],
        )
        for name, entry in tomllib.loads(STORED.read_text("utf-8")).items()
    }


def half(answer: Answer) -> Half:
    """Reporting if nobody has looked at it yet, and tuning for ever after that."""
    looked_at = answer.tuning or answer.frozen < REPORTING_SINCE
    return Half.TUNING if looked_at else Half.REPORTING
