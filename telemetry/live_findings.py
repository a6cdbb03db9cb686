"""The file by which a diagnosis of a running run tells its findings to the training process."""

import json
from collections.abc import Sequence
from pathlib import Path

from telemetry.errors import StoreUnreadable
from telemetry.finding import Finding
from telemetry.manifest import publish_json


def live_findings_name(attempt: int) -> str:
    """Name of the file in the run folder; no table, so no reader of the run looks at it."""
    return f".findings-{attempt:04d}.json"


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """Replace the file atomically.

    Raises:
        OSError: the disk refuses.
    """
    publish_json(path, {"findings": [finding.to_json() for finding in findings]})


def read_findings(path: Path) -> tuple[Finding, ...]:
    """The findings of a file, in their order: roots first, each followed by its consequences.

    Raises:
        StoreUnreadable: there is no such file, or it holds something else.
    """
    try:
        return tuple(Finding.from_json(row) for row in json.loads(path.read_bytes())["findings"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreUnreadable(f"{path}: no findings can be read ({error}).") from error
