"""What every page of the server has around it: its style, its scripts, what a browser may do."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from urllib.parse import urlencode

from telemetry.answer_page import document, policy_of
from telemetry.answer_page.html import element, escaped, paragraph
from telemetry.cli.report.page import page_text

PACKAGE = "telemetry.cli.ui"
LIST, RUNS = "/", "/runs"  # the addresses that there are
# Its own forms and its own questions; nothing may show the page inside another.
OWN = "connect-src 'self'; form-action 'self'; base-uri 'none'"


@cache
def script() -> str:
    """The script of every page: that of the drawings, and that which keeps them up to date."""
    return f"{page_text('js')}\n{_text('live.js')}"


@cache
def policy() -> str:
    """The Content-Security-Policy of every page, as the page itself says it."""
    return f"{policy_of(script())}; {OWN}"


def header_policy() -> str:
    """The same as a header, which alone may say who shows the page."""
    return f"{policy()}; frame-ancestors 'none'"


def shell(title: str, body: Sequence[str]) -> str:
    """A page; its pieces are HTML already."""
    style = page_text("css") + _text("ui.css")
    return document(title, body, style=style, script=script(), policy=policy())


def live(version: str, moment: str, body: Sequence[str]) -> str:
    """The part of a page that is replaced when there is a newer version of it."""
    moment_line = f'<p class="foot" id="as-of">as of {escaped(moment)}</p>'
    content = "\n".join(filter(None, (*body, moment_line)))
    return f'<div id="live" data-version="{escaped(version)}">\n{content}\n</div>'


def link(address: str, text: str) -> str:
    """A link to a page of this server."""
    return f'<a href="{escaped(address)}">{escaped(text)}</a>'


def runs_address(selectors: Sequence[str]) -> str:
    """The address of the page of one run, or of the comparison of several."""
    return f"{RUNS}?{urlencode([('run', one) for one in selectors])}"


def message_page(title: str, message: str, candidates: Sequence[str] = ()) -> str:
    """A page that says why there is no other, with links to runs that may have been meant."""
    lines = [paragraph(line) for line in message.splitlines()]
    links = [element("li", link(runs_address([one]), one)) for one in candidates]
    nearest = element("ul", "".join(links)) if links else ""
    return shell(title, [*lines, nearest, element("nav", link(LIST, "all runs"))])


def opening_page() -> str:
    """Leads on to the list: a cookie of this site goes with a request that a page of it makes."""
    go = f'<meta http-equiv="refresh" content="0;url={LIST}">'
    return shell("telemetry", [go, paragraph("The browser is known now."), link(LIST, "all runs")])


@cache
def _text(name: str) -> str:
    return files(PACKAGE).joinpath(name).read_text("utf-8").strip()
