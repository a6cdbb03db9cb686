"""Callbacks that are open at the end of a process."""

import pytest
from torch import nn

from telemetry.capture.environment import open_callbacks
from telemetry.errors import TelemetryError


class Ending:
    """Something that is open; `fails` when it is closed."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.is_closed = False

    def close(self) -> None:
        if self.fails:
            raise TelemetryError("the disk is full")
        self.is_closed = True

    def fail(self, error: BaseException) -> None:
        del error


def test_one_that_fails_to_close_stops_no_other() -> None:
    broken, whole = Ending(fails=True), Ending(fails=False)
    models = [nn.Linear(1, 1), nn.Linear(1, 1)]
    for model, entry in zip(models, (broken, whole), strict=True):
        open_callbacks.register(model, entry, lambda: None)
    with pytest.raises(TelemetryError, match="disk is full"):
        open_callbacks.close_all()
    assert whole.is_closed
