"""One row of `events` before it has a step and a time."""

from dataclasses import dataclass, field

from telemetry.json_values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of `events` before it has a step and a time."""

    kind: str
    message: str
    severity: str = "info"
    payload: dict[str, Json] = field(default_factory=dict)
