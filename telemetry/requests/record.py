"""What an unmodified script is to be recorded with, as it travels in `$TELEMETRY_AUTO`.

`1` asks for the defaults; `telemetry record` writes a JSON object with its options. Child processes
inherit the variable, so that a launcher's workers are recorded; `speaker` tells them that somebody
else says at the end that nothing was recorded.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from telemetry.errors import UsageError

AUTO_VARIABLE = "TELEMETRY_AUTO"
START_FILE = "training_telemetry.pth"  # beside the package; runs when Python starts


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRequest:
    """Arguments of the callback that will be made, where they are not the defaults.

    Attributes:
        every: Sample each N-th optimizer step; None: the budget decides.
        project: Groups runs.
        name: Display name; None: the script's.
        tags: Free labels.
        total_steps: Planned optimizer steps.
        metrics_from_stdout: Numbers that the script prints as `name=value` are metrics.
        asked: The script itself was named, by `telemetry record`.
        names_store: So was the folder of the runs, which a command would not find by itself.
        speaker: Process that says at its end why nothing was recorded; None: not yet known.
    """

    every: int | None = None
    project: str = "default"
    name: str | None = None
    tags: tuple[str, ...] = ()
    total_steps: int | None = None
    metrics_from_stdout: bool = False
    asked: bool = False
    names_store: bool = False
    speaker: int | None = None

    @property
    def options(self) -> list[str]:
        """Options of `telemetry record` that were given."""
        default = RecordRequest()
        names = ("every", "project", "name", "tags", "total_steps", "metrics_from_stdout")
        return [
            f"--{name.removesuffix('s') if name == 'tags' else name.replace('_', '-')}"
            for name in names
            if getattr(self, name) != getattr(default, name)
        ]

    def of_replay(self) -> "RecordRequest":
        """The same for another run of the script, whose store and whose words are not these."""
        return replace(self, asked=False, names_store=False, speaker=None)

    def to_variable(self) -> str:
        """The text of `$TELEMETRY_AUTO`."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "RecordRequest | None":
        """The request of an environment; None where nothing is asked for.

        Raises:
            UsageError: the variable holds something else.
        """
        text = environment.get(AUTO_VARIABLE, "")
        if text in {"", "0"}:
            return None
        if text == "1":
            return cls()
        try:
            fields = json.loads(text)
            return cls(**{**fields, "tags": tuple(fields["tags"])})
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"${AUTO_VARIABLE} is {text!r}: set it to 1, or to 0.") from error


def start_file_is_installed() -> bool:
    """Whether Python runs the start file: it lies in a folder of installed packages."""
    return any(Path(folder, START_FILE).is_file() for folder in sys.path if folder)
