"""A run that is closed at the end of the interpreter has failed if its script said so."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from loops import Training, mlp, vectors

from telemetry import TelemetryCallback
from telemetry.capture.environment import open_callbacks
from telemetry.format.manifest import Manifest, read_manifest

Begun = tuple[Training, TelemetryCallback]
ORIGINAL = sys.exit


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    training = Training(mlp, vectors)
    telemetry = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    for loss in training.steps(3):
        telemetry.step(loss=loss)
    return training, telemetry


def _leave(code: object) -> None:
    with pytest.raises(SystemExit) as caught:
        sys.exit(code)  # type: ignore[arg-type]
    assert type(caught.value) is SystemExit
    assert caught.value.code is code


def _ended(begun: Begun) -> Manifest:
    """As at the end of the interpreter."""
    path = begun[1].path
    assert path is not None
    open_callbacks.close_all()
    return read_manifest(path)


@pytest.mark.parametrize(
    ("code", "message"), [(4, "4"), ("no data", "no data"), ("", ""), (None, None), (0, None)]
)
def test_the_code_says_how_the_run_ended(begun: Begun, code: object, message: str | None) -> None:
    _leave(code)
    manifest = _ended(begun)
    if message is None:
        assert (manifest.status, manifest.error) == ("finished", None)
    else:
        assert manifest.status == "failed"
        assert manifest.error == {"type": "SystemExit", "message": message, "where": ""}


def _step(training: Training, telemetry: TelemetryCallback) -> None:
    for loss in training.steps(1):
        telemetry.step(loss=loss)


def _log(_training: Training, telemetry: TelemetryCallback) -> None:
    telemetry.log(val_loss=1.0)


def _leave_well(_training: Training, _telemetry: TelemetryCallback) -> None:
    _leave(0)


@pytest.mark.parametrize("goes_on", [_step, _log, _leave_well])
def test_an_exit_that_was_caught_is_forgotten_when_training_goes_on(
    begun: Begun, goes_on: Callable[[Training, TelemetryCallback], None]
) -> None:
    _leave(4)
    goes_on(*begun)
    assert _ended(begun).status == "finished"


def test_an_exit_of_another_thread_is_not_that_of_the_script(begun: Begun) -> None:
    thread = threading.Thread(target=_leave, args=(4,))
    thread.start()
    thread.join()
    assert _ended(begun).status == "finished"


def test_sys_exit_is_put_back(begun: Begun) -> None:
    assert sys.exit is not ORIGINAL
    begun[1].close()
    assert sys.exit is ORIGINAL
