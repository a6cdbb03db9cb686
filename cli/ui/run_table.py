"""The list of runs on a page: that of the terminal, with links, and boxes to choose by."""

from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.answer_page.html import Cell as PageCell
from telemetry.answer_page.html import escaped
from telemetry.cli.options import Settings
from telemetry.cli.output.grid import Cell
from telemetry.cli.output.page import PageScreen
from telemetry.cli.ui.shell import link, runs_address
from telemetry.store.runs.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCell(PageCell):
    """The first cell of a run: a box that chooses it, and a link to its page."""

    selector: str
    name: str

    @property
    def html(self) -> str:
        """What stands in it."""
        box = (
            f'<input type="checkbox" name="run" value="{escaped(self.selector)}" '
            f'aria-label="choose {escaped(self.name)}">'
        )
        return f"{box} {link(runs_address([self.selector]), self.text)}"


class RunTable(PageScreen):
    """A screen whose one table has a row for each run.

    Args:
        settings: The common options.
        runs: In the order of the rows.
    """

    def __init__(self, settings: Settings, runs: Sequence[Run]) -> None:
        super().__init__(settings)
        self._unicode = True  # a browser knows more than the stdout of its server
        self._runs = runs

    def warn(self, message: str) -> None:
        """A warning among the rest: nobody reads stderr of a server."""
        self.paragraph(f"warning: {message}")

    def _row(self, place: int, row: Sequence[Cell], sides: Sequence[str]) -> list[PageCell]:
        first, *rest = super()._row(place, row, sides)
        run = self._runs[place]
        cell = RunCell(first.text, first.kind, selector=selector_of(run), name=run.name)
        return [cell, *rest]


def selector_of(run: Run) -> str:
    """What selects a run whatever other runs there are."""
    return "/".join(run.key)
