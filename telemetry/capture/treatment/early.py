"""What a trial does before the script runs: other seeds, and remedies of the data."""

from types import ModuleType

from telemetry.capture.treatment import seeds
from telemetry.requests.trial import Trial


def torch_is_loaded(trial: Trial, module: ModuleType) -> None:
    """Told that `torch` has been imported."""
    from telemetry.capture.treatment.attached import this_trial  # noqa: PLC0415 - loads torch

    if trial.seed_offset:
        seeds.shift_torch(trial.seed_offset, module)
    found = this_trial()
    if found is not None:
        found.attach_early()


def numpy_is_loaded(trial: Trial, module: ModuleType) -> None:
    """Told that `numpy.random` has been imported."""
    if trial.seed_offset:
        seeds.shift_numpy(trial.seed_offset, module)
