import inspect

import pytest

from telemetry import errors
from telemetry.errors import Inconclusive, RunNotFound, TelemetryError, UsageError

CLASSES = [
    entry
    for entry in vars(errors).values()
    if inspect.isclass(entry) and issubclass(entry, TelemetryError)
]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_of_the_one_tree_and_drawn_in_it(error: type[TelemetryError]) -> None:
    assert error.__module__ == "telemetry.errors"
    assert error.__name__ in errors.__doc__
    assert error.__doc__


@pytest.mark.parametrize("error", [e for e in CLASSES if e is not Inconclusive])
def test_what_cannot_be_answered_ends_with_two(error: type[TelemetryError]) -> None:
    assert error.exit_code == 2


def test_what_the_data_cannot_answer_ends_with_three() -> None:
    assert Inconclusive.exit_code == 3


def test_a_run_that_is_not_found_names_what_would_have_worked() -> None:
    error = RunNotFound("no run abc", ("abcd", "abce"))
    assert str(error) == "no run abc"
    assert error.candidates == ("abcd", "abce")


def test_errors_of_usage_are_no_other_kind() -> None:
    assert not issubclass(UsageError, RunNotFound)
