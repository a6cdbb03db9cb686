import pytest

from telemetry.cli.ui import kept
from telemetry.cli.ui.kept import Drawn, KeptPage, KeptPages, Source
from telemetry.compare.watch.watcher import LEAST_REST_S


class Rig:
    """A page whose looks and drawings cost what a test says, in a time of its own."""

    def __init__(self, *, look_s: float = 0.001, draw_s: float = 0.1) -> None:
        self.now_s = self.spent_s = 0.0
        self.version = "a"
        self.looks = self.drawings = 0
        self._look_s, self._draw_s = look_s, draw_s
        self.page = KeptPage(
            Source(identity=1, look=self._look, draw=self._draw),
            clock=lambda: self.now_s,
            spent=lambda: self.spent_s,
        )

    def _look(self) -> str:
        self.looks += 1
        self.spent_s += self._look_s
        return self.version

    def _draw(self, version: str) -> str:
        self.drawings += 1
        self.spent_s += self._draw_s
        return f"page {version}"

    def poll(self, seconds: float) -> list[str]:
        """The versions that a page which asks every two seconds is told."""
        seen = []
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 2.0
            seen.append(self.page.version(is_poll=True))
        return seen


def test_a_page_that_does_not_change_is_drawn_once() -> None:
    rig = Rig()
    assert rig.page.drawn(is_poll=False) == Drawn("a", "page a")
    spent_s = rig.spent_s
    assert set(rig.poll(600)) == {"a"}
    assert rig.page.drawn(is_poll=False) == Drawn("a", "page a")
    assert rig.drawings == 1
    assert (rig.spent_s - spent_s) / 600 < 0.001


def test_looks_at_thousands_of_runs_cost_their_share() -> None:
    rig = Rig(look_s=0.2)
    rig.page.drawn(is_poll=False)
    spent_s = rig.spent_s
    rig.poll(600)
    assert rig.looks > 20
    assert (rig.spent_s - spent_s) / 600 < 1.1 * kept.LOOK_SHARE


def test_however_fast_a_run_grows_a_poll_costs_its_share() -> None:
    rig = Rig(look_s=0.2, draw_s=1.0)
    rig.page.drawn(is_poll=False)
    spent_s = rig.spent_s
    for second in range(0, 3000, 2):
        rig.now_s, rig.version = float(second), str(second)
        rig.page.drawn(is_poll=True)
    assert rig.drawings > 20
    assert (rig.spent_s - spent_s) / 3000 < kept.LOOK_SHARE + kept.DRAWING_SHARE


def test_a_poll_is_told_the_version_that_it_would_get() -> None:
    rig = Rig(draw_s=1.0)
    rig.page.drawn(is_poll=False)
    rig.version = "b"
    rest_s = 1.0 / kept.DRAWING_SHARE
    assert set(rig.poll(rest_s - 2)) == {"a"}
    assert rig.page.drawn(is_poll=True).version == "a"
    assert rig.poll(4)[-1] == "b"
    assert rig.page.drawn(is_poll=True) == Drawn("b", "page b")


def test_who_loads_the_page_gets_what_there_is() -> None:
    rig = Rig(draw_s=100.0)
    rig.page.drawn(is_poll=False)
    rig.version = "b"
    rig.now_s += LEAST_REST_S / 10
    assert rig.page.drawn(is_poll=False).version == "b"


def test_a_page_that_could_not_be_drawn_is_drawn_the_next_time() -> None:
    def fail(_version: str) -> str:
        raise ValueError

    page = KeptPage(Source(identity=1, look=lambda: "a", draw=fail))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            page.drawn(is_poll=True)


def test_a_poll_does_not_ask_what_an_address_means_and_only_the_last_pages_are_kept() -> None:
    pages, meaning = KeptPages(), iter(range(1000))

    def found() -> Source:
        return Source(identity=next(meaning), look=lambda: "a", draw=str)

    first = pages.page("/a", found, is_poll=False)
    assert pages.page("/a", found, is_poll=True) is first
    assert pages.page("/a", found, is_poll=False) is not first
    for number in range(kept.MOST_PAGES):
        pages.page(f"/{number}", found, is_poll=False)
    assert len(pages.pages) == kept.MOST_PAGES
    assert "/a" not in pages.pages
