"""Who may see the pages: a browser that was given the token and asks this machine by its own name.

A page of another site can make a browser ask here. It is refused four times over: it has no token,
its cookie does not travel (SameSite), the browser says where the request comes from (`Origin`,
`Sec-Fetch-Site`), and a name that was made to mean this machine is not one of its own (`Host`).
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

READS = ("GET", "HEAD")
# A port of its own may follow: `ssh -L 9000:127.0.0.1:8230` has the browser ask for port 9000.
OWN_NAME = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
OWN_PAGES = frozenset({"same-origin", "none"})  # none: typed, or opened from elsewhere than a page

UNKNOWN_BROWSER = (
    "This address needs the token of the server. Open the whole address that `telemetry ui` has "
    "printed; it ends in ?token=…"
)
NOT_THIS_HOST = "This server answers to 127.0.0.1 and localhost only."
ANOTHER_SITE = "Another site asked for this page; open it from the address bar instead."
READ_ONLY = "This server only shows: it takes GET and HEAD."


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no page, and the status that it gets instead."""

    status: int
    reason: str


class Keys:
    """The secrets of one server, which end with it."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self._tickets: set[str] = set()

    @property
    def cookie(self) -> str:
        """Name of the cookie: servers of one machine share what a browser keeps for it."""
        return f"telemetry-{sha256(self.token.encode()).hexdigest()[:8]}"

    def ticket(self) -> str:
        """A token that opens once: others of this machine can read how a browser is started."""
        made = secrets.token_urlsafe(32)
        self._tickets.add(made)
        return made

    def open_with(self, given: str) -> bool:
        """Whether a text is the token, or a ticket that nobody has used."""
        if self.fits(given):
            return True
        found = next((one for one in self._tickets if _equal(one, given)), None)
        self._tickets.discard(found or "")
        return found is not None

    def fits(self, given: str) -> bool:
        """Whether a text is the token."""
        return _equal(self.token, given)


def refusal(method: str, headers: Mapping[str, str], *, is_opening: bool) -> Refusal | None:
    """Why a request is none that may be answered, whoever it comes from; None: it may be.

    Args:
        method: Of HTTP.
        headers: Names in lower case.
        is_opening: Whether it brings the token, as a link in a mail or a chat of the user's does.
    """
    host = headers.get("host", "")
    if method not in READS:
        return Refusal(405, READ_ONLY)
    if not OWN_NAME.fullmatch(host):
        return Refusal(403, NOT_THIS_HOST)
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return Refusal(403, ANOTHER_SITE)
    if not is_opening and headers.get("sec-fetch-site", "none") not in OWN_PAGES:
        return Refusal(403, ANOTHER_SITE)
    return None


def _equal(known: str, given: str) -> bool:
    return secrets.compare_digest(known.encode(), given.encode("utf-8", "surrogatepass"))
