"""What a learning-rate scheduler was made with, as plain values."""

from collections import Counter
from collections.abc import Sequence

from torch.optim.lr_scheduler import LRScheduler

from telemetry.json_values import Json

MAX_ENTRIES = 64  # of a list, as of milestones or learning rates
STATE = frozenset({"last_epoch", "best", "num_bad_epochs", "cooldown_counter", "num_bad_steps"})
INSIDE = ("_schedulers", "schedulers")
MILESTONES = "_milestones"  # of a sequence of schedulers


def scheduler_settings(scheduler: LRScheduler) -> dict[str, Json]:
    """Class and plain settings; those of schedulers inside it under `schedulers`.

    Tensors, functions and what changes from call to call are left out.
    """
    found: dict[str, Json] = {"class": type(scheduler).__name__}
    for name, value in vars(scheduler).items():
        if name in INSIDE and isinstance(value, Sequence):
            parts = [part for part in value if isinstance(part, LRScheduler)]
            found["schedulers"] = [scheduler_settings(part) for part in parts[:MAX_ENTRIES]]
        elif name == MILESTONES or not (name.startswith("_") or name in STATE):
            plain = _plain(value)
            if plain is not None:
                found[name.lstrip("_")] = plain
    return found


def _plain(value: object) -> Json:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Counter):  # how MultiStepLR keeps its milestones
        value = sorted(value.elements())
    if isinstance(value, list | tuple):
        entries = [_plain(entry) for entry in value[:MAX_ENTRIES]]
        return entries if entries and None not in entries else None
    return None
