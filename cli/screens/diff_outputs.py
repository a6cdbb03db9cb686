"""Where the result of `telemetry diff` goes: a screen, JSON, Markdown, GitHub, a JUnit file."""

from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.cli.options import Settings
from telemetry.cli.output import render
from telemetry.cli.output.github import annotations, step_summary
from telemetry.cli.output.markdown import MarkdownScreen
from telemetry.cli.screens.diff import show
from telemetry.cli.screens.store_warnings import show_warnings
from telemetry.compare.diff.result import Diff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.trials.stored import TriesOfRun


def present(screen: render.Screen, diff: Diff, tries: "Sequence[TriesOfRun]") -> None:
    """On stdout, as the options want it; warnings go to stderr as well."""
    show_warnings(screen, diff.warnings)
    if screen.wants_json:
        experiments = [{"run": of.run.run, **one.to_json()} for of in tries for one in of.tries]
        screen.json({**diff.to_json(), "tries": experiments})
    else:
        _show(screen, diff, tries)


def _show(screen: render.Screen, diff: Diff, tries: "Sequence[TriesOfRun]") -> None:
    show(screen, diff)
    if tries:
        from telemetry.cli.screens.tries import confirmed_lines  # noqa: PLC0415 - numpy

        for of in tries:
            for text in confirmed_lines(of.tries):
                screen.paragraph(text, indent=2, label=of.run.name)


def annotate(
    screen: render.Screen,
    settings: Settings,
    diff: Diff,
    tries: "Sequence[TriesOfRun]",
    *,
    fails: bool,
) -> None:
    """Annotations on stdout, and in a job of GitHub the whole comparison in its summary."""
    show_warnings(screen, diff.warnings)
    for line in annotations(diff, fails=fails):
        render.write(line)
    summary = step_summary()
    if summary is None:
        return
    lines: list[str] = []
    _show(MarkdownScreen(settings, lines.append), diff, tries)
    render.append_to_file(summary, "\n".join([*lines, "", ""]))


def write_junit(path: Path, diff: Diff, *, fails: bool) -> None:
    """The JUnit file."""
    from telemetry.cli.output.junit import junit_xml  # noqa: PLC0415 - keeps --help fast

    render.write_file(path, junit_xml(diff, fails=fails))
