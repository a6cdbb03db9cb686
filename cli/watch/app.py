"""The full screen itself: four panels, a line of state above them, a line of keys below."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.screen import ModalScreen
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerState

from telemetry.cli.watch import drawings
from telemetry.cli.watch.panel import Panel
from telemetry.cli.watch.view import View
from telemetry.compare.watch.watcher import RunWatch
from telemetry.errors import TelemetryError

TICK_S = 1.0
KEYS = (
    ("tab", "next panel"),
    ("left, right", "previous, next run"),
    ("up, down", "scroll the panel"),
    ("enter", "the panel on the whole screen, and back"),
    ("m", "next metric"),
    ("/", "show only layers and findings that contain a text; escape shows all"),
    ("r", "read and diagnose now"),
    ("?", "this help"),
    ("q", "quit"),
)
LEGEND = "q quit   tab panel   \u2190\u2192 run   m metric   / filter   enter enlarge   ? help"
PLAIN_LEGEND = LEGEND.replace("\u2190\u2192", "arrows")


class Help(ModalScreen[None]):
    """The keys; any of them closes it."""

    CSS = """
    Help { align: center middle; }
    Help Static { width: auto; height: auto; border: round $accent; padding: 1 2; }
    """

    def compose(self) -> ComposeResult:
        """One line a key."""
        lines = [f"{keys:<12}  {what}" for keys, what in KEYS]
        yield Static(Text("\n".join(lines)))

    def on_key(self) -> None:
        """Close."""
        self.dismiss()


class WatchApp(App[None]):
    """Shows runs while they are recorded.

    Args:
        watches: One a run.
        has_colours: Whether colours may be used.
        has_unicode: Whether more than ASCII may be.
        clock: Monotonic seconds.
    """

    CSS = """
    Grid { grid-size: 2 2; grid-columns: 3fr 2fr; }
    Panel { border: round $secondary; height: 1fr; padding: 0 1; }
    Panel:focus { border: round $accent; }
    #state, #keys { height: 1; padding: 0 1; }
    #keys { color: $text-muted; }
    #filter { height: 1; border: none; display: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("left", "run(-1)", "previous run"),
        Binding("right", "run(1)", "next run"),
        Binding("up", "move(-1)", "up"),
        Binding("down", "move(1)", "down"),
        Binding("m", "metric", "metric"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "all", "all"),
        Binding("enter", "whole", "whole screen"),
        Binding("r", "now", "read now"),
        Binding("question_mark", "keys", "help"),
    ]

    def __init__(
        self,
        watches: Sequence[RunWatch],
        *,
        has_colours: bool,
        has_unicode: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.animation_level = "none"  # nothing may move between two looks
        self._watches, self._clock = tuple(watches), clock
        self._view = View(
            sights=(None,) * len(watches), has_colours=has_colours, has_unicode=has_unicode
        )
        self._read_s: float | None = None
        self._looking: Worker[None] | None = None
        self.failure: TelemetryError | None = None

    def compose(self) -> ComposeResult:
        """State, panels, keys."""
        yield Static(id="state")
        with Grid():
            yield Panel("curves", drawings.curves)
            yield Panel("findings", drawings.findings)
            yield Panel("gradient norm by layer", drawings.layers)
            yield Panel("pace and budget", drawings.figures)
        yield Input(id="filter", compact=True, placeholder="layer or detector")
        yield Static(LEGEND if self._view.has_unicode else PLAIN_LEGEND, id="keys")

    def on_mount(self) -> None:
        """Look at once, then every second."""
        self.set_interval(TICK_S, self.tick)
        self.tick()
        self.query(Panel).first().focus()

    def tick(self) -> None:
        """Show the time; look at the runs unless that is being done."""
        self._show_state()
        if self._looking is None or self._looking.is_finished:
            self._looking = self.run_worker(self._look, thread=True, exit_on_error=False)

    def _look(self) -> None:
        """On a thread of its own: the curves of every run first, then the findings."""
        for step in (RunWatch.look, RunWatch.judge):
            for watch in self._watches:
                if step(watch) is not None:
                    self.call_from_thread(self._saw)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A run that can no longer be read ends the screen; the command says why."""
        error = event.worker.error
        if event.state is WorkerState.ERROR and error is not None:
            if not isinstance(error, TelemetryError):
                raise error
            self.failure = error
            self.exit()

    def _saw(self) -> None:
        self._read_s = self._clock()
        self._change(replace(self._view, sights=tuple(watch.sight for watch in self._watches)))

    def _change(self, view: View) -> None:
        self._view = view
        for panel in self.query(Panel):
            panel.show(view)
        self._show_state()

    def _show_state(self) -> None:
        age_s = None if self._read_s is None else self._clock() - self._read_s
        state = self.query_one("#state", Static)
        state.update(drawings.heading(self._view, max(self.size.width - 2, 1), age_s=age_s))

    def action_run(self, by: int) -> None:
        """Show another run."""
        place = (self._view.place + by) % len(self._watches)
        self._change(replace(self._view, place=place))

    def action_metric(self) -> None:
        """Draw the next metric."""
        self._change(replace(self._view, metric=self._view.metric + 1))

    def action_move(self, by: int) -> None:
        """Scroll the panel that has the focus."""
        if isinstance(self.focused, Panel):
            self.focused.scroll_lines(by)

    def action_whole(self) -> None:
        """Give the focused panel the whole screen, or all of them their part of it again."""
        chosen = self.focused
        if isinstance(chosen, Panel):
            others = [panel for panel in self.query(Panel) if panel is not chosen]
            is_whole = not others[0].display
            for panel in others:
                panel.display = is_whole
            one = 2 if is_whole else 1
            grid = self.query_one(Grid)
            grid.styles.grid_size_columns, grid.styles.grid_size_rows = one, one
            grid.styles.grid_columns = "3fr 2fr" if is_whole else "1fr"

    def action_filter(self) -> None:
        """Ask for a text."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Show what holds the text."""
        self._end_filter(event.value.strip())

    def action_all(self) -> None:
        """Show everything again."""
        self._end_filter("")

    def _end_filter(self, sought: str) -> None:
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.query(Panel).first().focus()
        self._change(replace(self._view, sought=sought))

    def action_now(self) -> None:
        """Do not wait for the rest to be over."""
        for watch in self._watches:
            watch.hurry()
        self.tick()

    def action_keys(self) -> None:
        """Show the keys."""
        self.push_screen(Help())
