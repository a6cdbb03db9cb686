"""Stands before every page: who may see one gets it, and each goes out with the same headers."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.cli.ui import shell
from telemetry.cli.ui.access import READS, UNKNOWN_BROWSER, Keys, Refusal, refusal

TOKEN = "token"  # noqa: S105 - the name of it in the query of an address
REFUSED = "not shown"
HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """An ASGI application before another one.

    Args:
        app: What answers requests that may be answered.
        keys: The secrets of the server.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; what is none of HTTP gets no answer."""
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = {**HEADERS, "content-security-policy": shell.header_policy()}
                pairs = [(name.encode(), value.encode()) for name, value in added.items()]
                message["headers"] = [*message["headers"], *pairs]
            await send(message)

        answer = self._own_answer(Request(scope))
        await (answer or self._app)(scope, receive, send_safely)

    def _own_answer(self, request: Request) -> HTMLResponse | None:
        """What is answered here; None: the page that was asked for."""
        given = request.query_params.get(TOKEN, "")
        # A ticket is used up by who may be answered only.
        known = given and refusal(request.method, request.headers, is_opening=True) is None
        is_opening = bool(known) and self._keys.open_with(given)
        refused = refusal(request.method, request.headers, is_opening=is_opening)
        if refused is not None:
            return _refused(refused)
        if is_opening:
            answer = HTMLResponse(shell.opening_page())
            cookie, token = self._keys.cookie, self._keys.token
            answer.set_cookie(cookie, token, httponly=True, samesite="strict")
            return answer
        if not self._keys.fits(request.cookies.get(self._keys.cookie, "")):
            return _refused(Refusal(403, UNKNOWN_BROWSER))
        return None


def _refused(refused: Refusal) -> HTMLResponse:
    allow = {"allow": ", ".join(READS)} if refused.status == 405 else None  # noqa: PLR2004 - HTTP
    page = shell.message_page(REFUSED, refused.reason)
    return HTMLResponse(page, refused.status, headers=allow)
