import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, steady, validated, widest
from example_store import trained
from synthetic import START

from telemetry.format.manifest import Status, read_manifest, utc_text, write_manifest
from telemetry.processes import this_process

pytestmark = pytest.mark.usefixtures("example")


def names(done_out: str) -> list[str]:
    rows = [line.split("\t") for line in done_out.splitlines()]
    return [row[rows[0].index("NAME")] for row in rows[1:]]


@pytest.mark.parametrize("width", [80, 120])
def test_the_list_fits_the_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    done = telemetry("runs", "--no-color")
    assert done.code == 0
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/runs-{width}.txt", steady(done.out))


def test_a_pipe_gets_the_same_rows(telemetry: Telemetry, golden: Golden) -> None:
    golden("cli/runs.tsv", telemetry("runs").out)


def test_json_lists_the_runs(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("runs", "--json")
    document = validated("runs", done.out)
    assert document["total"] == 6
    golden("cli/runs.json", done.out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--project", "demo", "--status", "finished"], ["nothing", "wide", "base"]),
        (["--tag", "pr-12"], ["wide"]),
        (["--since", "2026-01-02T06:00:00", "--project", "demo"], ["nothing", "interrupted"]),
        (["--where", "steps between 60 and 70 -- few"], ["interrupted", "broken"]),
        (["--where", "config->>'seed' = '1'"], ["wide"]),
        (["--where", "seed = 1"], ["wide"]),
        (["--where", "val_loss < 1e9 and tags like '%main%'"], ["base"]),
        (["--sort", "val_loss", "--project", "demo", "--limit", "2"], ["base", "wide"]),
        (["--sort", "val_accuracy", "--tag", "main"], ["base"]),
        (["--sort", "name", "--project", "demo", "--limit", "1"], ["base"]),
        (["--sort", "seed", "--where", "steps > 0"], ["base", "wide", "broken", "interrupted"]),
        (["--sort", "steps", "--where", "steps > 0", "--limit", "1"], ["wide"]),
    ],
)
def test_runs_are_filtered_and_sorted(
    arguments: list[str], expected: list[str], telemetry: Telemetry
) -> None:
    done = telemetry("runs", *arguments)
    assert done.code == 0, done.err
    assert names(done.out) == expected


def test_a_run_whose_metric_is_not_finite_comes_last(telemetry: Telemetry) -> None:
    listed = names(telemetry("runs", "--sort", "loss", "--where", "steps > 0").out)
    assert listed == ["base", "wide", "interrupted", "broken"]


def test_a_limit_says_how_many_it_hides(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(80)
    assert "4 more, use --all" in telemetry("runs", "--limit", 2).out
    assert "more" not in telemetry("runs", "--limit", 2, "--all").out
    assert json.loads(telemetry("runs", "--limit", 2, "--json").out)["total"] == 6


def test_no_fitting_run_is_said_and_is_no_error(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(80)
    done = telemetry("runs", "--tag", "absent")
    assert done.code == 0
    assert "no run matches" in done.out


@pytest.mark.parametrize(("sort", "header"), [("val_loss", "VAL_LOSS"), ("seed", "SEED")])
def test_what_runs_are_sorted_by_is_shown_on_a_narrow_terminal(
    sort: str, header: str, telemetry: Telemetry, terminal: Terminal
) -> None:
    terminal(80)
    assert header not in telemetry("runs").out
    out = telemetry("runs", "--sort", sort, "--no-color").out
    assert header in out
    assert widest(out) <= 80


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sort", "speed"], "choose started, steps, name"),
        (["--where", "speed > 3"], "speed"),
        (["--where", "1); DROP TABLE runs; --"], "Parser Error"),
        (["--since", "yesterday"], "2026-01-31"),
        (["--status", "lost"], "running"),
        (["--limit", "0"], "limit"),
    ],
)
def test_what_cannot_be_understood_is_named(
    arguments: list[str], words: str, telemetry: Telemetry
) -> None:
    done = telemetry("runs", *arguments)
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_run_with_a_broken_manifest_is_listed_and_the_reason_said(
    telemetry: Telemetry, example: Path
) -> None:
    next(example.glob("project=demo/*aaaaaa/run.json")).write_text("{", encoding="utf-8")
    done = telemetry("runs")
    assert done.code == 0
    assert "unreadable" in done.out
    assert names(done.out)[-1].endswith("aaaaaa")
    assert "run.json: not readable" in done.err


def test_a_torn_file_is_named_and_the_rest_is_shown(telemetry: Telemetry, example: Path) -> None:
    shard = next(example.glob("project=demo/*bbbbbb/steps/*/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:100])
    done = telemetry("runs")
    assert done.code == 0
    assert shard.name in done.err
    assert len(names(done.out)) == 6


def test_a_run_that_lives_without_a_sign_of_life_is_stale(
    telemetry: Telemetry, example: Path
) -> None:
    builder = trained(example, "alive", hours=5, n_steps=40)
    folder = builder.write(status=Status.RUNNING)
    manifest = read_manifest(folder)
    us = this_process()
    own = replace(
        manifest.attempts[0],
        host=us.host,
        boot_id=us.boot_id,
        pid=us.pid,
        process_start=us.process_start,
    )
    heartbeat = utc_text(START + timedelta(days=1, seconds=-95))
    write_manifest(folder, replace(manifest, heartbeat=heartbeat, attempts=(own,), owner=us))
    assert "stale 1m" in telemetry("runs").out


def test_after_a_diagnosis_the_list_counts_its_findings(telemetry: Telemetry) -> None:
    before = telemetry("runs", "--where", "name = 'broken'").out.splitlines()[1]
    assert before.endswith("\t?")
    assert telemetry("diagnose", "broken").code == 1
    after = telemetry("runs", "--where", "name = 'broken'").out.splitlines()[1]
    assert after.split("\t")[-1].startswith("E")


def test_a_missing_or_empty_store_says_how_to_record_a_run(
    telemetry: Telemetry, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        done = telemetry("runs", "--store", tmp_path / name)
        assert done.code == 2
        assert "TelemetryCallback(model, optimizer)" in done.err
        assert done.out == ""
