"""Where the result of `telemetry diff` goes: a screen, JSON, Markdown, GitHub, a JUnit file."""

from pathlib import Path

from telemetry.cli.options import Settings
from telemetry.cli.output import render
from telemetry.cli.output.github import annotations, step_summary
from telemetry.cli.output.markdown import MarkdownScreen
from telemetry.cli.screens.diff import show
from telemetry.cli.screens.store_warnings import show_warnings
from telemetry.compare.diff.result import Diff


def present(screen: render.Screen, diff: Diff) -> None:
    """On stdout, as the options want it; warnings go to stderr as well."""
    show_warnings(screen, diff.warnings)
    if screen.wants_json:
        screen.json(diff.to_json())
    else:
        show(screen, diff)


def annotate(screen: render.Screen, settings: Settings, diff: Diff, *, fails: bool) -> None:
    """Annotations on stdout, and in a job of GitHub the whole comparison in its summary."""
    show_warnings(screen, diff.warnings)
    for line in annotations(diff, fails=fails):
        render.write(line)
    summary = step_summary()
    if summary is None:
        return
    lines: list[str] = []
    show(MarkdownScreen(settings, lines.append), diff)
    render.append_to_file(summary, "\n".join([*lines, "", ""]))


def write_junit(path: Path, diff: Diff, *, fails: bool) -> None:
    """The JUnit file."""
    from telemetry.cli.output.junit import junit_xml  # noqa: PLC0415 - keeps --help fast

    render.write_file(path, junit_xml(diff, fails=fails))
