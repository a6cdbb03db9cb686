import csv
import io
import json
import math
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest

from telemetry.cli.output import query_cells
from telemetry.errors import UsageError

pytestmark = pytest.mark.usefixtures("example")

NORMS = "select layer, max(grad_norm) as top from layers group by 1 order by 1"


@pytest.mark.parametrize("width", [80, 120])
def test_rows_fit_the_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    sql = "select name, status, steps, config, null as nothing from runs order by started"
    done = telemetry("query", sql, "--no-color")
    assert done.code == 0
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/query-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


def test_a_pipe_gets_all_digits_between_tabs(telemetry: Telemetry) -> None:
    done = telemetry("query", NORMS, "--run", "base")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert rows[0] == ["layer", "top"]
    assert [row[0] for row in rows[1:]] == ["net.0", "net.2", "net.4"]
    assert float(rows[1][1]) == pytest.approx(1.4, rel=1e-6)
    assert len(rows[1][1]) > 10


def test_json_holds_columns_rows_and_whether_some_are_missing(telemetry: Telemetry) -> None:
    sql = (
        "select name, steps, started, 1152921504606846976 as hash, 'nan'::double as lost, "
        "'ab'::blob as data from runs order by started limit 3"
    )
    done = telemetry("query", sql, "--json", "--limit", "2")
    document = validated("query", done.out)
    assert document["truncated"] is True
    assert [column["name"] for column in document["columns"]] == [
        "name",
        "steps",
        "started",
        "hash",
        "lost",
        "data",
    ]
    assert document["rows"][0] == [
        "base",
        200,
        "2026-01-02T03:04:05",
        "0x1000000000000000",
        "nan",
        "YWI=",
    ]
    assert document["rows"][1][0] == "wide"


def test_csv_keeps_every_digit_and_quotes(telemetry: Telemetry) -> None:
    sql = """select 1 / 3.0 as third, 'a"b,c' as text, null as nothing, true as yes"""
    done = telemetry("query", sql, "--format", "csv")
    header, row = list(csv.reader(io.StringIO(done.out)))
    assert header == ["third", "text", "nothing", "yes"]
    assert row == [repr(1 / 3), 'a"b,c', "", "true"]


def test_csv_for_a_terminal_holds_no_control_characters(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    sql = "select name from runs where steps = 0"
    assert "\x1b" in telemetry("query", sql, "--format", "csv").out
    terminal(80)
    assert "\x1b" not in telemetry("query", sql, "--format", "csv").out
    assert "\x1b" not in telemetry("query", sql, "--json").out


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_a_file_holds_what_the_screen_would(
    form: str, telemetry: Telemetry, tmp_path: Path
) -> None:
    target = tmp_path / "out.txt"
    done = telemetry("query", NORMS, "--format", form, "--output", target)
    assert done.code == 0
    assert done.out == ""
    shown = telemetry("query", NORMS, "--format", form).out
    assert target.read_bytes().decode() == shown


def test_parquet_is_written_to_a_file(telemetry: Telemetry, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    assert telemetry("query", NORMS, "--format", "parquet", "--output", target).code == 0
    assert pq.read_table(target).column_names == ["layer", "top"]
    without = telemetry("query", NORMS, "--format", "parquet")
    assert without.code == 2
    assert "add --output FILE" in without.err


def test_a_file_that_cannot_be_written_is_named(telemetry: Telemetry, tmp_path: Path) -> None:
    done = telemetry("query", NORMS, "--format", "csv", "--output", tmp_path / "no" / "out.csv")
    assert done.code == 2
    assert "out.csv cannot be written" in done.err


def test_a_terminal_shows_the_first_rows_and_says_so(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    sql = "select step from steps order by step"
    assert len(telemetry("query", sql).out.splitlines()) == 1 + 530
    terminal(80)
    out = telemetry("query", sql).out
    assert len(out.splitlines()) == 1 + 200 + 1
    assert "first 200 rows" in out


def test_a_terminal_shows_the_first_columns_whole_and_says_so(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    terminal(80)
    header, *_, last = telemetry("query", "from steps limit 2", "--no-color").out.splitlines()
    assert header.split()[:3] == ["project", "run", "rank"]
    assert "…" not in header
    assert re.fullmatch(r"\d+ of \d+ columns do not fit; select fewer, or use --format csv", last)


def test_runs_are_chosen_by_selector_project_and_age(telemetry: Telemetry) -> None:
    sql = "select distinct run from steps order by run"

    def chosen(*options: str) -> list[str]:
        return [line[-6:] for line in telemetry("query", sql, *options).out.splitlines()[1:]]

    assert chosen("--run", "base", "--run", "tag=pr-12") == ["aaaaaa", "bbbbbb"]
    assert chosen("--project", "weird*") == []
    assert chosen("--since", "2026-01-02T05:00:00") == ["cccccc", "dddddd"]


def test_findings_are_made_when_they_are_asked_for(telemetry: Telemetry) -> None:
    done = telemetry("query", "select run, detector, severity from findings", "--json")
    rows = json.loads(done.out)["rows"]
    assert ["20260102-050405-cccccc", "non_finite", "error"] in rows


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("selec 1", "syntax error"),
        ("select * from nowhere", "nowhere"),
        ("select 1; select 2", "one statement"),
        ("", "one statement"),
        ("copy (select 1) to 'stolen.csv'", "COPY is refused"),
        ("with x as (copy (select 1) to 'stolen.csv') select 1", ""),
        ("select * from read_csv('/etc/passwd')", "only read the views"),
        ("attach 'x.db'", "ATTACH is refused"),
        ("set threads = 9", "SET is refused"),
    ],
)
def test_only_one_select_is_run(sql: str, words: str, telemetry: Telemetry, tmp_path: Path) -> None:
    done = telemetry("query", sql)
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.rglob("stolen.csv")) == []


def test_a_column_that_is_not_there_is_told_with_those_near_it(telemetry: Telemetry) -> None:
    done = telemetry("query", "select grad_norm from steps")
    assert done.code == 2
    assert 'column "grad_norm" not found' in done.err
    assert '"grad_norm_total"' in done.err
    assert "`telemetry query --schema VIEW`" in done.err


def test_no_statement_names_the_list_of_views(telemetry: Telemetry) -> None:
    done = telemetry("query")
    assert done.code == 2
    assert "query --schema" in done.err


def test_the_statement_can_come_from_stdin(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("select 7 as seven"))
    assert telemetry("query", "-").out == "seven\n7\n"


def test_a_query_that_takes_too_long_is_stopped(telemetry: Telemetry) -> None:
    sql = "select count(*) from range(1000000) a, range(1000000) b"
    done = telemetry("query", sql, "--timeout", "0.05")
    assert done.code == 2
    assert "more than 0.05 s" in done.err


def test_a_torn_shard_is_named_and_the_rest_is_queried(telemetry: Telemetry, example: Path) -> None:
    shard = next(example.glob("project=demo/*bbbbbb/steps/*/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-10])
    done = telemetry("query", "select count(*) as n from steps")
    assert done.out == "n\n330\n"
    assert shard.name in done.err


def test_the_schema_lists_views_and_columns(telemetry: Telemetry, terminal: Terminal) -> None:
    every = telemetry("query", "--schema").out.splitlines()
    assert every[0].split("\t") == ["VIEW", "COLUMN", "TYPE", "MEANING"]
    assert any(line.startswith("layers\tgrad_norm\tDOUBLE\t") for line in every)
    document = validated("views", telemetry("query", "--schema", "layers", "--json").out)
    assert [view["name"] for view in document["views"]] == ["layers"]
    terminal(80)
    assert "telemetry query --schema VIEW" in telemetry("query", "--schema").out
    out = telemetry("query", "--schema", "steps", "--no-color").out
    assert widest(out) <= 80
    assert "batch_hash" in out


def test_the_schema_needs_no_store(telemetry: Telemetry) -> None:
    assert telemetry("query", "--schema", "steps", "--store", "absent").code == 0
    unknown = telemetry("query", "--schema", "stepz")
    assert unknown.code == 2
    assert "there are runs" in unknown.err


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("4GB", 4_000_000_000), ("512 MiB", 2**29), ("1.5g", 1_500_000_000), ("100", 100)],
)
def test_a_size_is_read(text: str, n_bytes: int) -> None:
    assert query_cells.parse_size(text) == n_bytes


@pytest.mark.parametrize("text", ["", "lots", "0GB", "-1GB", "4 XB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        query_cells.parse_size(text)


def test_too_little_memory_is_said(telemetry: Telemetry) -> None:
    sql = "select a.i from range(3000000) a(i) join range(3000000) b(i) on a.i = b.i order by 1"
    done = telemetry("query", sql, "--memory", "20MB")
    assert done.code == 2
    assert "--memory" in done.err


def test_cells_tell_whole_numbers_from_measured_ones() -> None:
    shown = [query_cells.cell(value) for value in (3.0, 1 / 3, math.inf, 7, True, b"ab")]
    assert [getattr(cell, "text", cell) for cell in shown] == [
        "3.0",
        "0.3333",
        "inf",
        "7",
        "true",
        "YWI=",
    ]
