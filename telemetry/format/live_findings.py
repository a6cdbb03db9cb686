"""The file by which a diagnosis of a running run tells its findings to the training process."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry import json_values
from telemetry.errors import StoreUnreadable
from telemetry.finding import Finding
from telemetry.format.manifest import publish_json
from telemetry.format.regular_files import read_regular

if TYPE_CHECKING:
    from telemetry.json_values import Json

SIZE_LIMIT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFindings:
    """What was found so far.

    Attributes:
        findings: Roots first, each followed by its consequences.
        exact: Detectors of those that cannot be in a correct run; the others rest on a margin
            between healthy and faulty runs, which the beginning of a run may cross.
        n_steps: One more than the last step that was judged.
    """

    findings: tuple[Finding, ...]
    exact: frozenset[str]
    n_steps: int


def live_findings_name(attempt: int) -> str:
    """Name of the file in the run folder; no table, so no reader of the run looks at it."""
    return f".findings-{attempt:04d}.json"


def write_findings(path: Path, found: LiveFindings) -> None:
    """Replace the file atomically.

    Raises:
        OSError: the disk refuses.
    """
    document: dict[str, Json] = {
        "findings": [finding.to_json() for finding in found.findings],
        "exact": sorted(found.exact),
        "n_steps": found.n_steps,
    }
    publish_json(path, document)


def read_findings(path: Path) -> LiveFindings:
    """The contents of a file.

    Raises:
        StoreUnreadable: there is no such file, or it holds something else.
    """
    try:
        raw = json_values.parsed_object(read_regular(path, limit_bytes=SIZE_LIMIT_BYTES))
        findings = json_values.json_objects(raw["findings"])
        return LiveFindings(
            findings=tuple(Finding.from_json(row) for row in findings),
            exact=frozenset(map(str, json_values.json_list(raw["exact"]))),
            n_steps=json_values.json_integer(raw["n_steps"], least=0) or 0,
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreUnreadable(f"{path}: the findings cannot be read ({error}).") from error
