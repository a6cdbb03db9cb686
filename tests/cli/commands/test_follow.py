from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import Telemetry, validated
from example_results import DIAGNOSIS
from judged_runs import learning
from running_run import RunningRun

from telemetry.cli.commands import diagnose
from telemetry.cli.output import render
from telemetry.cli.screens import following
from telemetry.diagnose import follow
from telemetry.format.manifest import Status

HEALTHY = learning(100)
BROKEN = [*HEALTHY, *[float("nan")] * 5]
Happenings = Callable[..., None]


@pytest.fixture
def running(store: Path) -> RunningRun:
    return RunningRun(store)


@pytest.fixture
def happens(monkeypatch: pytest.MonkeyPatch) -> Happenings:
    """`happens(f, g)`: f is called in the first pause, g in the second; there is no third."""
    monkeypatch.setattr(follow, "REST_FACTOR", 0.0)

    def plan(*things: Callable[[], object]) -> None:
        waiting = iter(things)

        def pause() -> None:
            next(waiting)()

        monkeypatch.setattr(following, "pause", pause)

    return plan


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_finding_is_shown_when_it_is_new_and_the_end_when_it_comes(
    running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    happens(
        lambda: running.grow(HEALTHY),
        lambda: running.grow(BROKEN),
        lambda: running.grow([*BROKEN, float("nan")]),
        lambda: running.grow(BROKEN, status=Status.FAILED),
    )
    done = telemetry("diagnose", "latest", "--follow")
    assert done.code == 1
    lines = [line.split("\t") for line in done.out.splitlines()]
    heads = [cells[1:] for cells in lines if cells[0].startswith("20")]
    assert heads == [
        ["105 steps", "new"],
        ["105 steps", "the run has failed", "1 cause"],
    ]
    assert [cells[1] for cells in lines if cells[0] == "E"] == ["non_finite"]
    assert done.err == ""


def test_the_first_line_names_the_run(
    running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    happens(lambda: running.grow(HEALTHY, status=Status.FINISHED))
    done = telemetry("diagnose", "latest", "--follow")
    first, *_ = done.out.splitlines()
    assert first == "base\taaaaaa\trunning, started 2026-01-02T03:04:05 UTC"
    assert done.err == ""


def test_where_no_run_is_running_the_next_one_is_waited_for(
    store: Path, running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    running.grow(BROKEN, status=Status.FINISHED)
    later: list[RunningRun] = []
    happens(
        lambda: None,
        lambda: later.append(RunningRun(store, run="20260102-040000-bbbbbb", name="next")),
        lambda: later[0].grow(HEALTHY, status=Status.FINISHED),
    )
    done = telemetry("diagnose", "--follow")
    assert done.code == 0
    assert done.out.splitlines()[0].split("\t")[:2] == ["next", "bbbbbb"]
    assert "non_finite" not in done.out
    assert done.err == (
        "telemetry: the latest run, base (aaaaaa), has finished; waiting for the next run to "
        "start; press Ctrl-C to stop. `telemetry diagnose aaaaaa` diagnoses the latest run.\n"
    )


def test_an_older_run_that_is_running_is_followed_and_named(
    store: Path, running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    RunningRun(store, run="20260102-040000-bbbbbb", name="newer").grow(
        HEALTHY, status=Status.FINISHED
    )
    happens(lambda: running.grow(HEALTHY, status=Status.FINISHED))
    done = telemetry("diagnose", "latest", "--follow")
    assert done.code == 0
    assert done.out.startswith("base\taaaaaa\trunning")


@pytest.mark.parametrize("there", [False, True], ids=["no_folder", "no_run"])
def test_the_first_run_of_a_store_is_waited_for(
    store: Path, happens: Happenings, telemetry: Telemetry, *, there: bool
) -> None:
    if there:
        store.mkdir()
    first: list[RunningRun] = []
    happens(
        lambda: first.append(RunningRun(store)),
        lambda: first[0].grow(HEALTHY, status=Status.FINISHED),
    )
    done = telemetry("diagnose", "--follow", "--json")
    assert done.code == 0
    [document] = [validated("diagnose", line) for line in done.out.splitlines()]
    assert document["follow"]["is_last"] is True
    assert f"{store.absolute()} contains no run yet; waiting" in done.err
    assert "press Ctrl-C to stop" in done.err


def test_ctrl_c_ends_the_wait_for_a_run(
    store: Path, happens: Happenings, telemetry: Telemetry
) -> None:
    happens(interrupt)
    done = telemetry("diagnose", "--follow", "--store", store)
    assert done.code == 130
    assert done.out == ""
    assert "Traceback" not in done.err


def test_a_run_chosen_by_name_is_judged_though_it_has_ended(
    running: RunningRun, telemetry: Telemetry
) -> None:
    running.grow(BROKEN, status=Status.FINISHED)
    done = telemetry("diagnose", "aaaaaa", "--follow")
    assert done.code == 1
    assert done.out.startswith("base\taaaaaa\tfinished")
    assert "the run has finished" in done.out


@pytest.mark.parametrize(
    ("selector", "said"), [("absent", "the store does not exist"), ("latest", "this is a file")]
)
def test_what_cannot_be_followed_is_said_at_once(
    store: Path, telemetry: Telemetry, selector: str, said: str
) -> None:
    if selector == "latest":
        store.write_text("")
    done = telemetry("diagnose", selector, "--follow")
    assert done.code == 2
    assert said in done.err


def test_what_is_over_is_named(
    running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    running.grow(BROKEN)
    happens(lambda: running.grow(HEALTHY), lambda: running.grow(HEALTHY, status=Status.FINISHED))
    done = telemetry("diagnose", "latest", "--follow")
    assert done.code == 0
    *_, over, head, end = done.out.splitlines()
    assert over.endswith("over")
    assert head.startswith("E\tnon_finite")
    assert "no problem found by" in end


def test_json_is_one_document_a_line(
    running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    happens(
        lambda: running.grow(HEALTHY),
        lambda: running.grow(BROKEN),
        lambda: running.grow(BROKEN, status=Status.FINISHED),
    )
    done = telemetry("diagnose", "latest", "--follow", "--json")
    documents = [validated("diagnose", line) for line in done.out.splitlines()]
    told = [document["follow"] for document in documents]
    assert [entry["changes"] for entry in told] == [
        [{"change": "new", "detector": "non_finite", "severity": "error"}],
        [],
    ]
    assert [entry["is_last"] for entry in told] == [False, True]
    assert [entry["detector"] for entry in documents[1]["findings"]] == ["non_finite"]


def test_fail_on_ends_the_wait_at_the_first_such_finding(
    running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    happens(lambda: running.grow(HEALTHY), lambda: running.grow(BROKEN))
    done = telemetry("diagnose", "latest", "--follow", "--fail-on", "error")
    assert done.code == 1
    assert "non_finite" in done.out


def test_fail_on_never_follows_to_the_end(
    running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    happens(lambda: running.grow(BROKEN), lambda: running.grow(BROKEN, status=Status.FINISHED))
    assert telemetry("diagnose", "latest", "--follow", "--fail-on", "never").code == 0


def test_a_run_that_never_took_a_step_ends_open(
    running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    happens(lambda: None, running.die)
    done = telemetry("diagnose", "latest", "--follow")
    assert done.code == 3
    assert "the run was killed" in done.out


def test_ctrl_c_is_130_and_no_traceback(
    running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    running.grow(HEALTHY)
    happens(interrupt)
    done = telemetry("diagnose", "latest", "--follow")
    assert done.code == 130
    assert "Traceback" not in done.err


def test_a_deleted_run_is_named(
    running: RunningRun, happens: Happenings, telemetry: Telemetry
) -> None:
    happens(running.delete)
    done = telemetry("diagnose", "latest", "--follow")
    assert done.code == 2
    assert "was deleted while telemetry followed it" in done.err


def test_a_terminal_shows_a_status_line_that_makes_room(
    running: RunningRun,
    happens: Happenings,
    telemetry: Telemetry,
    terminal: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal(80)
    monkeypatch.setattr(following.sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: 7.0))
    over: list[str] = []
    monkeypatch.setattr(render, "write_over", over.append)
    happens(
        lambda: running.grow(HEALTHY),
        lambda: running.grow(HEALTHY, status=Status.FINISHED),
    )
    assert telemetry("diagnose", "latest", "--follow", "--no-color").code == 0
    assert over == [
        "",
        "base: waiting for its first step; Ctrl-C stops",
        "",
        "base: 100 steps, learning, 0 findings, diagnosed 0s ago; Ctrl-C stops",
        "",
        "",
    ]


def test_a_consequence_that_comes_later_names_its_cause(
    running: RunningRun,
    happens: Happenings,
    telemetry: Telemetry,
    terminal: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal(80)
    root, *consequences = DIAGNOSIS.findings
    seen = iter([(root,), (root, *consequences)])
    monkeypatch.setattr(
        diagnose, "judged", lambda _store, _run: replace(DIAGNOSIS, findings=next(seen))
    )
    happens(lambda: running.grow(BROKEN, status=Status.FINISHED))
    out = telemetry("diagnose", "latest", "--follow", "--no-color").out
    heads = [line.split("  ", 2)[2].rstrip() for line in out.splitlines() if "70 steps" in line]
    assert heads == [
        "new",
        "new, a consequence of learning_rate_too_high",
        "the run has finished  1 cause, 2 consequences",
    ]


def test_the_status_line_never_wraps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    render.write_over("x" * 100)
    assert capsys.readouterr().err == "\r\x1b[2K" + "x" * 19
