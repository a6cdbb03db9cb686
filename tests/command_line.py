"""What a command line left behind, and the type of the fixture `telemetry` that runs one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Done:
    """Exit code and everything that was written."""

    code: int
    out: str
    err: str


Telemetry: TypeAlias = Callable[..., Done]
