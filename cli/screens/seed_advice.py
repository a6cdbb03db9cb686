"""`hypotheses compare` without seeds: the commands, as one would type them, that supply them."""

from typing import TYPE_CHECKING

from telemetry.compare.settings.config_changes import flat, is_repeat_key
from telemetry.requests.models import EXPLAIN_KEY
from telemetry.store.runs.checkpoint_runs import TAG

if TYPE_CHECKING:
    from telemetry.evaluate.hypothesis_testing.result import Comparison
    from telemetry.store.runs.run import Run

MODEL = "--model MODULE:NAME"


def commands(found: "Comparison", file: str | None) -> list[str]:
    """For each seed: train, run what was compared, and at last compare again.

    Args:
        found: A comparison that lacks seeds.
        file: File of hypotheses that was named.
    """
    base = found.base
    beside = f" --file {file}" if file else ""
    again = f"telemetry hypotheses compare {base.short} {found.candidate.short}{beside}"
    if TAG in base.tags:
        words = f"{_test(found, file)} SEED1.pt SEED2.pt SEED3.pt {MODEL}"
        return [words, f"{again} --seeds SEED1.pt,SEED2.pt,SEED3.pt"]
    named = "" if base.config else " --seeds RUN,RUN,RUN"
    model = "" if base.manifest and EXPLAIN_KEY in base.manifest.extra else f" {MODEL}"
    return [
        f"{_training(base)}    # as {base.name}, {_other_seed(base)}",
        f"{_test(found, file)} latest{model}",
        f"{again}{named}    # at last",
    ]


def _test(found: "Comparison", file: str | None) -> str:
    """The verb that evaluates what was compared."""
    if not any(result.hypothesis for result in found.results):
        return "telemetry evaluate"
    return "telemetry hypotheses run" + (f" --file {file}" if file else "")


def _training(base: "Run") -> str:
    script = base.manifest.environment.get("script") if base.manifest else None
    return f"python {script or 'TRAIN.py'}"


def _other_seed(base: "Run") -> str:
    """What must differ, by the name that the configuration has for it."""
    seeds = [f"{key}={value}" for key, value in flat(base.config).items() if is_repeat_key(key)]
    return f"but not {' '.join(seeds)}" if seeds else "with another seed"
