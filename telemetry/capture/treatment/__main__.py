"""Lists remedies as JSON for the query half, which has no torch: `python -m ... [DOSE]...`.

Doses that are named are checked as far as that can be done without a training.
"""

import sys

from telemetry import json_values
from telemetry.capture.remedy import Dose, Remedy
from telemetry.capture.treatment.known import all_remedies, remedy_of
from telemetry.errors import UsageError
from telemetry.json_values import Json


def main(texts: list[str]) -> Json:
    """All remedies, and for each dose its name or what is wrong with it."""
    return {
        "remedies": [_described(remedy) for remedy in all_remedies().values()],
        "wrong": [wrong for text in texts if (wrong := _what_is_wrong(text)) is not None],
    }


def _described(remedy: Remedy) -> Json:
    return {
        "id": remedy.id,
        "changes": remedy.changes,
        "doses": list(remedy.doses),
        "treats": {detector: list(doses) for detector, doses in remedy.treats.items()},
        "restores": remedy.restores,
        "same_loss": remedy.same_loss,
    }


def _what_is_wrong(text: str) -> str | None:
    try:
        remedy_of(Dose.of(text))
    except UsageError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.stdout.write(json_values.dumps(main(sys.argv[1:])))
