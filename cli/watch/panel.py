"""A panel of the full screen: a frame with a title whose lines are drawn from the view."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rich.text import Text
from textual.widgets import Static

from telemetry.cli.watch.view import View

Draw: TypeAlias = Callable[[View, int, int], Sequence[Text]]


class Panel(Static, can_focus=True):
    """Draws a view into its frame; up and down move what does not fit.

    Args:
        title: In its frame.
        draw: Gives the lines for a width and a height.
    """

    def __init__(self, title: str, draw: Draw) -> None:
        super().__init__(id=title.replace(" ", "-"))
        self.border_title = title
        self._draw = draw
        self._view: View | None = None
        self._skipped = 0

    def show(self, view: View) -> None:
        """Draw this from now on."""
        self._view = view
        self._update()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self._update()

    def scroll_lines(self, n: int) -> None:
        """Move by so many lines; down is positive."""
        self._skipped = max(self._skipped + n, 0)
        self._update()

    def _update(self) -> None:
        width, height = self.content_size.width, self.content_size.height
        if self._view is None or width <= 0 or height <= 0:
            return
        lines = list(self._draw(self._view, width, height))
        self._skipped = min(self._skipped, max(len(lines) - height, 0))
        shown = lines[self._skipped : self._skipped + height]
        n_more = len(lines) - self._skipped - len(shown)
        self.border_subtitle = f"{n_more} more below" if n_more else ""
        for line in shown:
            line.truncate(width)
        self.update(Text("\n").join(shown))
