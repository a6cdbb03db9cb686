"""The policy that a settings file states, checked against the rules that there are.

```toml
[detectors.dead_units]
dead_limit = 0.9            # any parameter that `telemetry detectors dead_units` lists
severity = "info"           # at most
[detectors.input_stall]
enabled = false
[[suppress]]
detector = "dead_units"
layer = "encoder.*"
reason = "sparse by design"
```
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.configuration import Configuration, Table, find_configuration, nearest, written
from telemetry.diagnose.finding import Severity
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy, Suppression
from telemetry.errors import UsageError

if TYPE_CHECKING:
    from telemetry.diagnose.detector import Detector

SWITCH, CAP = "enabled", "severity"
SUPPRESSION_KEYS = ("detector", "layer", "run", "tag", "reason")


def load_policy(start: Path | None = None) -> Policy:
    """The policy of the settings file that holds in a folder, by default the working folder.

    Raises:
        UsageError: the file is wrong; the message names file and key.
    """
    return policy_of(find_configuration(start))


def policy_of(configuration: Configuration) -> Policy:
    """The policy that a settings file states.

    Raises:
        UsageError: a rule, a parameter or a key is unknown, or a value is out of its range.
    """
    if configuration.path is None:
        return DEFAULT_POLICY
    limits: dict[str, dict[str, float]] = {}
    disabled: dict[str, str] = {}
    caps: dict[str, Severity] = {}
    for key, detector, entries in _detector_tables(configuration):
        configuration.check_keys(entries, (SWITCH, CAP, *detector.parameters), within=key)
        if not _is_enabled(configuration, key, entries):
            disabled[detector.id] = configuration.name
        if CAP in entries:
            caps[detector.id] = _cap(configuration, f"{key}.{CAP}", entries[CAP])
        changed = {
            name: _limit(configuration, f"{key}.{name}", detector, value)
            for name, value in entries.items()
            if name in detector.parameters
        }
        if changed:
            limits[detector.id] = changed
    return Policy(
        limits=limits,
        disabled=disabled,
        caps=caps,
        suppressions=tuple(_suppressions(configuration)),
    )


def _detector_tables(configuration: Configuration) -> "Iterator[tuple[str, Detector, Table]]":
    """Key, rule and content of each table `[detectors.ID]`; former ids count."""
    tables = configuration.table.get("detectors", {})
    if not isinstance(tables, Mapping):
        raise configuration.error("detectors", tables, "write a table [detectors.ID]")
    seen: set[str] = set()
    for name, entries in tables.items():
        key = f"detectors.{name}"
        detector = _detector(configuration, key, name)
        if not isinstance(entries, Mapping):
            raise configuration.error(key, entries, f"write a table [{key}]")
        if detector.id in seen:
            raise configuration.error(
                key, entries, f"{detector.id} is configured twice; keep one table"
            )
        seen.add(detector.id)
        yield key, detector, entries


def _detector(configuration: Configuration, key: str, name: str) -> "Detector":
    # Loads the rules, numpy and duckdb: most settings files name none.
    from telemetry.diagnose.detector import all_detectors, known_detector  # noqa: PLC0415

    detector = known_detector(name)
    if detector is not None:
        return detector
    known = [detector.id for detector in all_detectors()]
    raise configuration.error(key, name, f"there is no such detector; {nearest(name, known)[:-1]}")


def _is_enabled(configuration: Configuration, key: str, entries: Table) -> bool:
    value = entries.get(SWITCH, True)
    if not isinstance(value, bool):
        raise configuration.error(f"{key}.{SWITCH}", value, "write true or false")
    return value


def _cap(configuration: Configuration, key: str, value: object) -> Severity:
    if value not in list(Severity):
        raise configuration.error(key, value, f"choose {', '.join(Severity)}")
    return Severity(str(value))


def _limit(configuration: Configuration, key: str, detector: "Detector", value: object) -> float:
    name = key.rpartition(".")[2]
    if isinstance(value, bool) or not isinstance(value, int | float):
        default = written(detector.parameters[name])
        raise configuration.error(key, value, f"write a number; the default is {default}")
    allowed = detector.allowed(name)
    if not allowed.holds(value):
        raise configuration.error(key, value, f"write {allowed.words}")
    return float(value)


def _suppressions(configuration: Configuration) -> Iterator[Suppression]:
    entries = configuration.table.get("suppress", [])
    if not isinstance(entries, list) or not all(isinstance(e, Mapping) for e in entries):
        raise configuration.error(
            "suppress", entries, "write a table [[suppress]] for each finding"
        )
    for index, entry in enumerate(entries):
        key = f"suppress[{index}]"
        configuration.check_keys(entry, SUPPRESSION_KEYS, within=key)
        texts = {name: _text(configuration, f"{key}.{name}", entry[name]) for name in entry}
        for needed in ("detector", "reason"):
            if needed not in texts:
                raise UsageError(
                    f"{configuration.path}: {key} has no {needed}; a suppression needs a "
                    "detector and a reason to accept its finding."
                )
        detector = _detector(configuration, f"{key}.detector", texts["detector"])
        yield Suppression(
            detector=detector.id,
            reason=texts["reason"],
            by=configuration.name,
            layer=texts.get("layer"),
            run=texts.get("run"),
            tag=texts.get("tag"),
        )


def _text(configuration: Configuration, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise configuration.error(key, value, "write a non-empty text")
    return value.strip()
