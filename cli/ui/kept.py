"""Pages as they were drawn, kept until what they show has changed.

A browser that has a page open asks every two seconds whether there is another. That lists folders
at most, and after each look and each drawing comes a rest that keeps both to a few hundredths of a
core, so that a training beside it loses nothing.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from telemetry.compare.watch.watcher import Clock, Pace

LOOK_SHARE, DRAWING_SHARE = 0.01, 0.02  # of one core
MOST_PAGES = 32  # of some hundred kilobytes each


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a page is drawn from.

    Attributes:
        identity: What it shows; a page of the same address with another identity is another page.
        look: The version of what it shows, from names of files; cheap.
        draw: The page of a version, as HTML.
    """

    identity: Hashable
    look: Callable[[], str]
    draw: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A page, and the version that it shows."""

    version: str
    html: str


class KeptPage:
    """One page of a browser.

    Args:
        source: What it is drawn from.
        clock: Monotonic seconds.
        spent: Seconds of processor time of this process.
    """

    def __init__(
        self, source: Source, *, clock: Clock = time.monotonic, spent: Clock = time.process_time
    ) -> None:
        self.source = source
        self._spent = spent
        self._looks = Pace(share=LOOK_SHARE, clock=clock, spent=spent)
        self._drawings = Pace(share=DRAWING_SHARE, clock=clock, spent=spent)
        self._seen = ""
        self._drawn: Drawn | None = None

    def version(self, *, is_poll: bool) -> str:
        """The version of the page that `drawn` gives.

        Args:
            is_poll: Whether nobody waits for it, so that the rests hold.
        """
        if self._drawn is not None and is_poll and not self._drawings.is_due():
            return self._drawn.version
        if not self._seen or not is_poll or self._looks.is_due():
            began_s = self._spent()
            self._seen = self.source.look()
            self._looks.did(began_s)
        return self._seen

    def drawn(self, *, is_poll: bool) -> Drawn:
        """The page; drawn anew where its version has changed."""
        version = self.version(is_poll=is_poll)
        if self._drawn is None or self._drawn.version != version:
            began_s = self._spent()
            self._drawn = Drawn(version, self.source.draw(version))
            self._drawings.did(began_s)
        return self._drawn


@dataclass(slots=True)
class KeptPages:
    """The pages asked for last, by their address."""

    pages: "OrderedDict[str, KeptPage]" = field(default_factory=OrderedDict)

    def page(self, address: str, find: Callable[[], Source], *, is_poll: bool) -> KeptPage:
        """The page of an address.

        Args:
            address: Path and query.
            find: What the address means now, which a poll does not ask for.
            is_poll: Whether an open page asks for what it shows.
        """
        kept = self.pages.get(address)
        if kept is None or not is_poll:
            source = find()
            if kept is None or kept.source.identity != source.identity:
                kept = self.pages[address] = KeptPage(source)
        self.pages.move_to_end(address)
        while len(self.pages) > MOST_PAGES:
            self.pages.popitem(last=False)
        return kept
