import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from asked_answers import keep_attribution, keep_features, keep_gaps, keep_perturbation
from command_line import Golden, Telemetry, Terminal, steady, validated, widest

INPUT, PERTURB = "a1b2c3d4e5f60718", "a1b2ffffffffffff"
COVERAGE, FEATURES = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def run(example: Path) -> Path:
    """The folder of the run `base`, with an answer of each kind of table, the input's first."""
    (found,) = [
        path.parent for path in example.glob("*/*/run.json") if '"base"' in path.read_text()
    ]
    keep_attribution(found, INPUT)
    keep_perturbation(found, PERTURB, 1)
    keep_gaps(found, COVERAGE, 2)
    keep_features(found, FEATURES, 3)
    return found


@pytest.mark.usefixtures("run")
def test_answers_are_listed_the_newest_first(telemetry: Telemetry) -> None:
    lines = telemetry("explain", "list", "base").out.splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == [FEATURES, COVERAGE, PERTURB, INPUT]
    assert lines[2].split("\t") == [
        COVERAGE,
        "2026-01-03 12:02",
        "coverage",
        "shop:night by shop:train",
        "-",
        "brightness above 0.6 was never trained.",
    ]
    assert lines[1].split("\t")[2:5] == ["features", "conv2 0, 7", "passed"]
    assert lines[3].split("\t")[2:5] == ["perturb", "example 12, brightness", "FAILED"]


@pytest.mark.usefixtures("run")
def test_lists_and_answers_are_documents(telemetry: Telemetry) -> None:
    listed = validated("explain", telemetry("explain", "list", "base", "--json").out)
    assert [entry["ok"] for entry in listed["asked"]] == [True, None, False, True]
    done = telemetry("explain", "show", INPUT, "--json")
    (found,) = validated("explain", done.out)["asked"]
    assert found["rows"][0]["segment_values"] == [-1.0, 3.0, 1.0]
    assert found["rows"][0]["params"]["baselines"] == {"zero": 1, "blur": 1}
    assert found["rows"][0]["library"] == "captum 0.9.0"
    assert found["checks"][0]["name"] == "determinism"
    assert (found["image"], found["image_gone"]) == (None, False)


@pytest.mark.usefixtures("run")
def test_an_answer_is_shown_again_by_the_beginning_of_its_id(telemetry: Telemetry) -> None:
    done = telemetry("explain", "show", INPUT[:6])
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == 'example 12 is called "3"; height holds 75 %.'
    assert "height\t3.000\t75 %" in lines
    assert "depth\t1.000\t25 %" in lines
    assert "library\tcaptum 0.9.0" in lines
    assert "settings\tsteps 128, baselines zero (1) + blur (1), all checks yes" in lines
    assert "determinism\t0\t1.000e-6\tpassed" in lines
    assert "picture" not in done.out


def test_a_row_of_before_settings_were_kept_is_shown_without(
    telemetry: Telemetry, run: Path
) -> None:
    (shard,) = (run / "attributions").glob("*/*.parquet")
    table = pq.ParquetFile(shard).read().drop_columns(["library", "params"])
    footer = {**table.schema.metadata, b"telemetry.schema": b"2"}
    pq.write_table(table.replace_schema_metadata(footer), shard)
    done = telemetry("explain", "show", INPUT)
    assert (done.code, done.err) == (0, "")
    assert "height\t3.000\t75 %" in done.out
    assert "library" not in done.out
    assert "settings" not in done.out
    row = json.loads(telemetry("explain", "show", INPUT, "--json").out)["asked"][0]["rows"][0]
    assert (row["library"], row["params"]) == (None, None)


@pytest.mark.usefixtures("run")
def test_a_failed_check_is_said_again_and_ends_with_3(telemetry: Telemetry) -> None:
    done = telemetry("explain", "show", PERTURB)
    assert done.code == 3
    assert "FAILED\tclipped: it is saturated" in done.out
    rows = [line for line in done.out.splitlines() if line.split("\t")[0] in {"0", "0.5000"}]
    assert rows == ["0\t3\t1", "0.5000\t8\t1"]


def test_a_picture_that_is_gone_is_no_broken_path(telemetry: Telemetry, run: Path) -> None:
    assert "picture\tthe picture was removed" in telemetry("explain", "show", FEATURES).out
    page = run / "explain" / "images" / f"{FEATURES}.png"
    page.parent.mkdir(parents=True)
    page.write_bytes(b"png")
    assert f"picture\t{page.resolve()}" in telemetry("explain", "show", FEATURES).out


def test_a_path_out_of_the_run_is_not_followed(telemetry: Telemetry, run: Path) -> None:
    """The rows of an imported run say what anybody wrote."""
    (run.parent / "other.png").write_bytes(b"png")
    for minute, place in enumerate(("../other.png", str((run.parent / "other.png").resolve()))):
        keep_attribution(run, f"{minute}badbadbadbadbad", 9, image_path=place)
        done = telemetry("explain", "show", f"{minute}badbadbadbadbad")
        assert "picture\tthe picture was removed" in done.out
        assert "other.png" not in done.out


def test_a_torn_file_is_said_and_the_rest_is_listed(telemetry: Telemetry, run: Path) -> None:
    (shard,) = (run / "attributions").glob("*/*.parquet")
    shard.write_bytes(shard.read_bytes()[:-20])
    done = telemetry("explain", "list", "base")
    assert done.code == 0
    assert INPUT not in done.out
    assert PERTURB in done.out
    assert shard.name in done.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("show", "a1b2"), f"'a1b2' matches several ids: {PERTURB}, {INPUT}"),
        (("show", "a1b"), "there is no answer 'a1b'; the closest are a1b2"),
        (("show", "0129"), f"there is no answer '0129'; the closest are {COVERAGE}, "),
        (("list", "nobody"), "no run matches 'nobody'"),
    ],
)
@pytest.mark.usefixtures("run")
def test_an_unknown_id_is_answered_with_those_that_are_closest(
    telemetry: Telemetry, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry("explain", *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err


@pytest.mark.usefixtures("example")
def test_a_run_without_answers_says_so(telemetry: Telemetry) -> None:
    assert "has no stored answers" in telemetry("explain", "list", "base").out
    assert "no run in the store has any" in telemetry("explain", "show", "a1b2c3").err
    assert json.loads(telemetry("explain", "list", "base", "--json").out)["asked"] == []


@pytest.mark.usefixtures("run")
def test_a_terminal_of_80_columns_holds_them(
    telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(80)
    out = telemetry("explain", "list", "base", "--no-color").out
    for answer in (INPUT, PERTURB, COVERAGE, FEATURES):
        out += "\n" + telemetry("explain", "show", answer, "--no-color").out
    assert widest(out) <= 80
    golden("cli/explain-asked-80.txt", steady(out))


def test_control_characters_of_a_class_do_not_reach_the_terminal(
    telemetry: Telemetry, terminal: Terminal, run: Path
) -> None:
    keep_attribution(run, "e" * 16, 9, answer="called \x1b[2Jx\u202e", dataset="\x1b]0;x\x07")
    for become in (lambda: None, lambda: terminal(80)):
        become()
        for words in (("list", "base"), ("show", "e" * 16), ("show", "e" * 16, "--json")):
            out = telemetry("explain", *words, "--no-color").out
            assert not {"\x1b", "\x07", "\u202e"} & set(out)


@pytest.mark.usefixtures("run")
def test_an_answer_is_a_page_again(telemetry: Telemetry) -> None:
    done = telemetry("explain", "show", INPUT, "--html", "page.html")
    text = Path("page.html").read_text("utf-8")
    assert done.out.endswith("page\tpage.html\n")
    assert "example 12 is called &quot;3&quot;; height holds 75 %." in text
    assert "<td>height</td><td>3.000</td><td>75 %</td>" in text
    assert telemetry("explain", "show", INPUT, "--html", "no/page.html").code == 2


def test_the_picture_of_an_answer_stands_on_its_page(run: Path, telemetry: Telemetry) -> None:
    image = run / "explain/images" / f"{FEATURES}.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"the picture")
    telemetry("explain", "show", FEATURES, "--html", "page.html")
    assert "base64,dGhlIHBpY3R1cmU=" in Path("page.html").read_text("utf-8")
