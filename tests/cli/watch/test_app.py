"""The full screen, run without a terminal; golden files hold it as text."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
from command_line import Golden
from judged_runs import Chain, learning
from running_run import RunningRun

pytest.importorskip("textual")

from textual.pilot import Pilot
from watch_screen import screen_text

import telemetry
from telemetry.cli.watch.app import WatchApp

Act: TypeAlias = Callable[[Pilot[None]], Awaitable[None]]
SIZES = {80: (80, 24), 120: (120, 40)}


@pytest.fixture
def _two(store: Path) -> None:
    healthy = Chain(store, run="20260102-030405-aaaaaa", name="base").layers(6)
    healthy.losses(learning(200), every=10)
    broken = Chain(store, run="20260102-030405-bbbbbb", name="wide").layers(6)
    broken.losses([*learning(196), *[float("nan")] * 4], every=10)
    for run in (healthy, broken):
        for step in range(0, 200, 10):
            run.gradients(step, [10 ** (index - step / 100) for index in range(-3, 3)])
        run.metric("val_loss", {50: 1.5, 100: 0.8, 199: 0.5})
        run.write()


def walk(
    store: Path,
    *stations: Sequence[str],
    names: Sequence[str] = ("base", "wide"),
    size: tuple[int, int] = (120, 40),
    has_colours: bool = True,
    has_unicode: bool = True,
    act: Act | None = None,
) -> list[str]:
    """The screen at first, and after the keys of each station."""
    opened = telemetry.Store.open(store)
    runs = [opened.select(name) for name in names]
    judge = partial(telemetry.diagnose_run, opened, detectors=["non_finite", "vanishing_gradient"])
    watches = telemetry.watch_runs(opened, runs, diagnose=judge)
    app = WatchApp(watches, has_colours=has_colours, has_unicode=has_unicode, clock=lambda: 0.0)

    async def run() -> list[str]:
        screens = []
        async with app.run_test(size=size) as pilot:
            await app.workers.wait_for_complete()
            for keys in ((), *stations):
                await pilot.press(*keys)
                await pilot.pause()
                screens.append(screen_text(app.export_screenshot()))
            if act is not None:
                await act(pilot)
                screens.append(screen_text(app.export_screenshot()))
        return screens

    return asyncio.run(run())


@pytest.mark.usefixtures("_two")
@pytest.mark.parametrize("width", list(SIZES))
def test_curves_layers_findings_and_pace_are_on_one_screen(
    width: int, store: Path, golden: Golden
) -> None:
    *_, screen = walk(store, ["right"], size=SIZES[width])
    assert all(len(line) <= width for line in screen.splitlines())
    golden(f"cli/watch-{width}.txt", screen + "\n")


@pytest.mark.usefixtures("_two")
def test_the_arrows_go_through_the_runs(store: Path) -> None:
    first, second, third, fourth = walk(store, ["right"], ["right"], ["left"])
    assert "base  aaaaaa  finished  200 steps  run 1 of 2" in first
    assert "E non_finite" not in first
    assert "wide  bbbbbb" in second
    assert "E non_finite" in second
    assert "base  aaaaaa" in third
    assert "wide  bbbbbb" in fourth


@pytest.mark.usefixtures("_two")
def test_m_draws_the_next_metric(store: Path) -> None:
    first, second = walk(store, ["m"])
    assert "loss  1 of" in first
    assert "val_loss  2 of" in second


@pytest.mark.usefixtures("_two")
def test_a_filter_leaves_the_layers_that_hold_a_text_until_escape(store: Path) -> None:
    everything, sought, again, none = walk(
        store, ["slash", "l", "2", "enter"], ["escape"], ["slash", "x", "y", "enter"]
    )
    assert {"l1", "l2"} <= set(everything.split())
    assert "l2" in sought.split()
    assert "l1" not in sought.split()
    assert "filter 'l2'" in sought
    assert "l1" in again.split()
    assert "no layer is called 'xy'" in none


@pytest.mark.usefixtures("_two")
def test_enter_gives_a_panel_the_whole_screen_and_the_others_theirs_back(store: Path) -> None:
    _, whole, parts = walk(store, ["tab", "enter"], ["enter"])
    assert "findings" in whole
    assert "pace and budget" not in whole
    assert "pace and budget" in parts


@pytest.mark.usefixtures("_two")
def test_what_does_not_fit_is_counted_and_scrolled_to(store: Path) -> None:
    first, last = walk(store, ["tab", "tab", *["down"] * 9], size=(80, 16))
    assert "more below" in first
    assert "l5" not in first.split()
    assert "l5" in last.split()


@pytest.mark.usefixtures("_two")
def test_the_help_names_every_key_and_any_key_closes_it(store: Path) -> None:
    _, opened, closed = walk(store, ["question_mark"], ["x"])
    assert "next panel" in opened
    assert "next panel" not in closed


@pytest.mark.usefixtures("_two")
def test_a_terminal_that_knows_only_ascii_gets_no_blocks(store: Path) -> None:
    (plain,) = walk(store, has_unicode=False, has_colours=False)
    assert not set("▁▂▃▄▅▆▇█⠙←") & set(plain)
    assert "_.:-=+*#" in plain


def test_a_run_that_has_not_begun_is_waited_for_and_then_shown(store: Path) -> None:
    running = RunningRun(store)

    async def begins(pilot: Pilot[None]) -> None:
        running.grow(learning(100))
        await pilot.press("r")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()

    before, after = walk(store, names=["base"], act=begins)
    assert "waiting for the first step" in before
    assert "loss  1 of" in after


def test_a_run_that_is_deleted_ends_the_screen_with_the_reason(store: Path) -> None:
    running = RunningRun(store)
    opened = telemetry.Store.open(store)
    app = WatchApp(telemetry.watch_runs(opened, opened.runs()), has_colours=True, has_unicode=True)

    async def run() -> None:
        async with app.run_test() as pilot:
            await app.workers.wait_for_complete()
            running.delete()
            await pilot.press("r")
            await pilot.pause(0)

    asyncio.run(run())
    assert "deleted while it was watched" in str(app.failure)
