"""What a replayed training is to do otherwise than the recorded one, as it travels in a variable.

`telemetry try` starts the script again with `$TELEMETRY_TRIAL` set; the callback reads it, whether
the script makes one or `telemetry record` does. Nothing of it is known to the script.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from telemetry.errors import UsageError

TRIAL_VARIABLE = "TELEMETRY_TRIAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One replay.

    Attributes:
        store: Folder that the run is recorded in, whatever the script says.
        report: File that the process writes when it is done; see `capture/treatment/report.py`.
        remedies: Applied from outside, as `lr/8`; none for the unchanged control.
        stop_after: Optimizer steps after which the process ends; None: with the script.
        seed_offset: Added to every seed that the script sets; 0 changes nothing.
        survey: It is asked which of many remedies change anything: one that does not apply is left
            out, where a replay otherwise ends.
    """

    store: str
    report: str
    remedies: tuple[str, ...] = ()
    stop_after: int | None = None
    seed_offset: int = 0
    survey: bool = False

    def to_variable(self) -> str:
        """The text of `$TELEMETRY_TRIAL`."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Trial | None":
        """The trial of an environment; None where the training is no replay.

        Raises:
            UsageError: the variable holds something else.
        """
        text = environment.get(TRIAL_VARIABLE, "")
        if not text:
            return None
        try:
            fields = json.loads(text)
            return cls(**{**fields, "remedies": tuple(fields["remedies"])})
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"${TRIAL_VARIABLE} is {text!r}: only `telemetry try` sets it; remove it."
            ) from error
