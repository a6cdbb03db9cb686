"""The server: two addresses, answered one after the other by one thread beside the loop."""

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from telemetry.cli.options import Settings
from telemetry.cli.ui import shell
from telemetry.cli.ui.access import Keys
from telemetry.cli.ui.guard import Guard
from telemetry.cli.ui.kept import Drawn, KeptPages, Source
from telemetry.cli.ui.list_page import list_source
from telemetry.cli.ui.report_page import Judge, report_source
from telemetry.errors import RunNotFound, StoreUnreadable, TelemetryError, UsageError
from telemetry.store.store import Store

HOST = "127.0.0.1"
MOST_REQUESTS = 64  # at once
STATUSES = {RunNotFound: 404, UsageError: 400, StoreUnreadable: 503}
TITLES = {404: "there is no such run", 400: "this cannot be shown", 503: "this cannot be read"}
NO_PAGE = "There is no such page; the list of runs leads to all that there are."
BUG = "this is a bug in telemetry; start the server with --debug to see where"


class Pages:
    """Answers requests about one store.

    Args:
        settings: The common options; the store is that of the moment at which the server began.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = partial(Store.expected, settings.store.absolute())
        self._judge = Judge(time.monotonic, time.process_time)
        self._kept = KeptPages()
        self._one = CapacityLimiter(1)

    @property
    def is_busy(self) -> bool:
        """Whether a page is being made."""
        return self._one.borrowed_tokens > 0

    def app(self, keys: Keys) -> ASGIApp:
        """The application for a server of HTTP."""
        routes = [
            Route(shell.LIST, self._runs, methods=["GET"]),
            Route(shell.RUNS, self._report, methods=["GET"]),
        ]
        handlers = {TelemetryError: _told, HTTPException: _no_page, Exception: self._bug}
        return Guard(Starlette(routes=routes, exception_handlers=handlers), keys)

    async def _runs(self, request: Request) -> Response:
        asked = dict(request.query_params)
        return await self._answer(request, lambda: list_source(self._settings, self._open, asked))

    async def _report(self, request: Request) -> Response:
        query = request.query_params

        def find() -> Source:
            return report_source(
                self._settings,
                self._open,
                self._judge,
                query.getlist("run"),
                by_start=query.get("by") == "start",
            )

        return await self._answer(request, find)

    async def _answer(self, request: Request, find: Callable[[], Source]) -> Response:
        """The page, or that the browser has it; a HEAD of a page that is open draws nothing."""
        known = request.headers.get("if-none-match", "").strip('"')
        address = f"{request.url.path}?{request.url.query}"
        is_head = request.method == "HEAD"

        def made() -> Drawn:
            page = self._kept.page(address, find, is_poll=bool(known))
            if known and (is_head or page.version(is_poll=True) == known):
                return Drawn(page.version(is_poll=True), "")
            return page.drawn(is_poll=bool(known))

        found = await to_thread.run_sync(made, limiter=self._one, abandon_on_cancel=True)
        tag = {"etag": f'"{found.version}"'}
        if found.version == known:
            return Response(status_code=304, headers=tag)
        return HTMLResponse(found.html, headers=tag)

    async def _bug(self, _request: Request, error: Exception) -> Response:
        if self._settings.debug:
            traceback.print_exception(error)
        first_line = (str(error).splitlines() or ["no message"])[0]
        message = f"{type(error).__name__}: {first_line}\n{BUG}"
        return HTMLResponse(shell.message_page("this went wrong", message), 500)


async def _told(_request: Request, error: Exception) -> Response:
    """A page that says what the terminal would say of an error."""
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 400)
    candidates = error.candidates if isinstance(error, RunNotFound) else ()
    return HTMLResponse(shell.message_page(TITLES[status], str(error), candidates), status)


async def _no_page(_request: Request, _error: Exception) -> Response:
    return HTMLResponse(shell.message_page("there is no such page", NO_PAGE), 404)


def listening(port: int) -> socket.socket:
    """A socket of this machine alone; 0 is a port that is free.

    Raises:
        UsageError: the port is taken, or is not given to everybody.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise UsageError(
            f"port {port} of {HOST} cannot be used: {error.strerror}; choose another with --port, "
            "or leave --port out for one that is free."
        ) from error


def server_of(pages: Pages, keys: Keys) -> uvicorn.Server:
    """A server that writes no log and believes no header of a proxy."""
    config = uvicorn.Config(
        pages.app(keys),
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        loop="asyncio",
        http="h11",
        ws="none",
        limit_concurrency=MOST_REQUESTS,
        timeout_graceful_shutdown=0,
    )
    return uvicorn.Server(config)


def serve(pages: Pages, keys: Keys, place: socket.socket) -> None:
    """Answer requests until Ctrl-C."""
    with suppress(KeyboardInterrupt):  # uvicorn ends, then raises the signal again
        server_of(pages, keys).run(sockets=[place])
    if pages.is_busy:
        # Nobody waits for the page that is being made. What it keeps is whole or absent.
        sys.stdout.flush()
        os._exit(0)
