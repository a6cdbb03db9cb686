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

    @classmethod
    def switched_off(cls, part: str, error: Exception) -> "Event":
        """A part of the recording, or a remedy, that failed and does nothing any more."""
        text = f"{part} switched off: {type(error).__name__}: {error}"
        return cls(kind="telemetry_error", severity="warning", message=text)
