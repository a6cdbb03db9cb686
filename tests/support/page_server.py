"""The server of `telemetry ui` in a thread of a test, and a browser without a screen."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from threading import Thread

from telemetry.cli.options import Settings
from telemetry.cli.ui.access import Keys
from telemetry.cli.ui.server import Pages, listening, server_of


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass(slots=True)
class Browser:
    """Keeps cookies, as a browser does; `address` is that of the server, without a path."""

    address: str
    keys: Keys
    jar: CookieJar = field(default_factory=CookieJar)

    def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        """One request; `if_none_match` in a keyword is the header If-None-Match."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address + path, method=method, headers=named)  # noqa: S310 - our own
        processor = urllib.request.HTTPCookieProcessor(self.jar)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), processor)
        try:
            with opener.open(request, timeout=60) as answer:
                return _answer(answer.status, answer.headers.items(), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers.items(), error.read())

    def opened(self) -> "Browser":
        """The same, known to the server from now on."""
        assert self.get(f"/?token={self.keys.token}").status == 200
        return self


@contextmanager
def serving(store: Path) -> Iterator[Browser]:
    """A server of a store, and a browser that it does not know yet."""
    keys = Keys()
    place = listening(0)
    server = server_of(Pages(Settings(given_store=store)), keys)
    thread = Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    try:
        yield Browser(f"http://127.0.0.1:{place.getsockname()[1]}", keys)
    finally:
        server.should_exit = True
        thread.join(60)
        place.close()


def _answer(status: int, headers: "list[tuple[str, str]]", body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers}, body.decode())
