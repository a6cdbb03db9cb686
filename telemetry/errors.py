"""The one tree of errors. `exit_code` is what the command line ends with.

TelemetryError
├── UsageError        the caller asked for something that cannot be
├── RunNotFound       no run, or more than one, fits a selector
├── StoreUnreadable   a folder or file is not what the reader can read
├── SchemaMismatch    a file's columns are not those of its table
├── Inconclusive      the question was valid and the data cannot answer it
├── CaptureError      recording failed (raised in training only with strict=True)
└── TrainingStopped   a finding has ended the training, as on_finding="stop" asks
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.finding import Finding


class TelemetryError(Exception):
    """Base of every error of this package; the message says what, where and what to do."""

    exit_code = 2


class UsageError(TelemetryError):
    """The caller asked for something that cannot be."""


class RunNotFound(TelemetryError):  # noqa: N818 - named after what the user sees
    """No run, or more than one, fits a selector.

    Attributes:
        candidates: Selectors that would have worked, nearest first.
    """

    def __init__(self, message: str, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.candidates = candidates


class StoreUnreadable(TelemetryError):  # noqa: N818 - named after what the user sees
    """A folder or file is not what the reader can read."""


class SchemaMismatch(TelemetryError):  # noqa: N818 - named after what the user sees
    """A file's columns are not those of its table."""


class Inconclusive(TelemetryError):  # noqa: N818 - named after what the user sees
    """The question was valid and the data cannot answer it."""

    exit_code = 3


class CaptureError(TelemetryError):
    """Recording failed; raised in training only with `strict=True`."""


class TrainingStopped(TelemetryError):  # noqa: N818 - named after what the user sees
    """A finding has ended the training: raised between two steps with `on_finding="stop"`.

    A function given as `on_finding` may raise it to the same effect.

    Attributes:
        finding: The reason.
    """

    def __init__(self, finding: "Finding", message: str | None = None) -> None:
        super().__init__(finding, message or f"{finding.detector}: {finding.message}")
        self.finding = finding

    def __str__(self) -> str:
        """The message alone."""
        return str(self.args[1])
