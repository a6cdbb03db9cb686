"""The remedies that there are, as a process that has torch tells them."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from telemetry.errors import TelemetryError, UsageError
from telemetry.json_values import Json, json_list, json_object, json_objects, json_text

LIST = ("-P", "-m", "telemetry.capture.treatment")
DOSE = re.compile(r"([^\[*/=]+)(?:\[[^\]]*\])?(?:([*/=])(.*))?")  # which is checked elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRemedy:
    """What a remedy says of itself; see `capture/remedy.py`."""

    id: str
    changes: str
    doses: tuple[str, ...]
    treats: Mapping[str, tuple[str, ...]]
    same_loss: bool
    restores: bool = False


def known_remedies(asked: Sequence[str] = ()) -> Mapping[str, KnownRemedy]:
    """All remedies by name.

    Args:
        asked: Doses such as `lr/8`, which are checked.

    Raises:
        UsageError: one of these is none, or torch is missing.
    """
    done = subprocess.run(  # noqa: S603 - our own module, by our own interpreter
        [sys.executable, *LIST, *asked], capture_output=True, check=False, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if "No module named 'torch'" in last:
            raise UsageError("trying remedies needs torch, which is not installed here.")
        raise TelemetryError(f"the list of remedies cannot be read: {last}")
    document = cast("Mapping[str, Json]", json.loads(done.stdout))
    for wrong in json_list(document.get("wrong")):
        raise UsageError(str(wrong))
    found = [_remedy(entry) for entry in json_objects(document.get("remedies"))]
    return {remedy.id: remedy for remedy in found}


def name_of(dose: str) -> str:
    """The remedy of a dose: `lr` of `lr[1]/8`."""
    return _parts(dose)[0]


def treating(remedies: Mapping[str, KnownRemedy], detector: str) -> tuple[str, ...]:
    """The doses that are tried for the finding of a detector."""
    return tuple(dose for one in remedies.values() for dose in one.treats.get(detector, ()))


def answers(remedies: Mapping[str, KnownRemedy], dose: str, detector: str) -> bool:
    """Whether a dose is a remedy for the finding of a detector: `lr/16` is where `lr/8` is."""
    meant = remedies[name_of(dose)].treats.get(detector, ())
    return any(_direction(dose) == _direction(one) for one in meant)


def battery(remedies: Mapping[str, KnownRemedy]) -> tuple[str, ...]:
    """The doses of `--all`."""
    return tuple(dose for one in remedies.values() for dose in one.doses)


def _parts(dose: str) -> tuple[str, str, str]:
    """Name, operator and value."""
    found = DOSE.fullmatch(dose)
    return (dose, "", "") if found is None else (found[1], found[2] or "", found[3] or "")


def _direction(dose: str) -> str:
    """Which way a dose goes, however far: more, less, a word as of `init=he`, or ''."""
    _, operator, value = _parts(dose)
    try:
        number = float(value)
    except ValueError:
        return value
    if operator == "=":
        return ""
    return "more" if (number >= 1) == (operator == "*") else "less"


def _remedy(entry: Mapping[str, Json]) -> KnownRemedy:
    treats = {
        detector: tuple(map(str, json_list(doses)))
        for detector, doses in json_object(entry.get("treats")).items()
    }
    return KnownRemedy(
        id=json_text(entry.get("id")) or "",
        changes=json_text(entry.get("changes")) or "",
        doses=tuple(map(str, json_list(entry.get("doses")))),
        treats=treats,
        same_loss=entry.get("same_loss") is True,
        restores=entry.get("restores") is True,
    )
