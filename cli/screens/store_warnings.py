"""Warns of files that are torn, foreign or missing, where a result does not say so itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output.render import Screen

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run

MAX_WARNINGS = 20  # a store on a broken disk has thousands


def warn_of_files(screen: Screen, runs: "Sequence[Run]") -> None:
    """List every table of the runs and name what cannot be read."""
    from telemetry.store.runs.listing import damage_of  # noqa: PLC0415 - pyarrow

    show_warnings(screen, damage_of(runs))


def show_warnings(screen: Screen, warnings: Sequence[str]) -> None:
    """The first warnings, and how many more there are."""
    for warning in warnings[:MAX_WARNINGS]:
        screen.warn(warning)
    if len(warnings) > MAX_WARNINGS:
        screen.warn(f"and {len(warnings) - MAX_WARNINGS} more")
