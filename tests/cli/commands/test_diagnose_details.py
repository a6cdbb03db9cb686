"""`diagnose --details N`."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest

from telemetry.cli.output.sparklines import BLOCKS
from telemetry.cli.screens import finding_details
from telemetry.cli.screens.findings import in_quotes
from telemetry.diagnose.explanation import Series

pytestmark = pytest.mark.usefixtures("example")


def series(*values: float) -> Series:
    return Series(
        name="l0",
        named=True,
        steps=np.arange(len(values)),
        values=np.array(values),
        worst=values[0],
        worst_step=0,
    )


@pytest.mark.parametrize("width", [80, 120])
def test_a_finding_is_explained_on_a_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    done = telemetry("diagnose", "broken", "--details", 1, "--no-color")
    assert done.code == 0
    assert widest(done.out.replace(command_line(done.out), "")) <= min(width, 99)
    golden(f"cli/explain-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


def command_line(out: str) -> str:
    """The one line that is not folded, so that it can be copied."""
    (line,) = (line for line in out.splitlines() if "telemetry query" in line)
    return line


def test_a_pipe_gets_every_row(telemetry: Telemetry, golden: Golden) -> None:
    golden("cli/explain.tsv", telemetry("diagnose", "broken", "--details", "non_finite").out)


def test_json_is_the_documented_explanation(telemetry: Telemetry) -> None:
    done = telemetry("diagnose", "broken", "--details", 1, "--json")
    document = validated("explanation", done.out)
    assert document["number"] == 1
    assert document["finding"]["detector"] == "non_finite"
    assert document["evidence"]["n_rows"] > 0
    assert document["commands"]["verify"][0] == "telemetry diagnose latest --detector non_finite"


def test_the_command_behind_it_runs(telemetry: Telemetry) -> None:
    document = json.loads(telemetry("diagnose", "broken", "--details", 1, "--json").out)
    sql = document["evidence"]["sql"]
    assert document["commands"]["evidence"].endswith(f"'{sql}'")
    rows = telemetry("query", "--run", "broken", sql).out.splitlines()
    assert len(rows) == document["evidence"]["n_rows"] + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("broken", "--details", "2"), "no finding 2 to explain; its findings are 1 non_finite"),
        (("base", "--details", "1"), "the run has no findings"),
        (("broken", "--details", "non_finit"), "did you mean non_finite"),
        (("broken", "--details", "1", "--follow"), "exclude each other"),
    ],
)
def test_what_cannot_be_explained_is_an_error_that_says_what_can(
    arguments: tuple[str, ...], message: str, telemetry: Telemetry
) -> None:
    done = telemetry("diagnose", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_the_former_name_of_the_option_works_and_is_hidden(telemetry: Telemetry) -> None:
    asked = [telemetry("diagnose", "broken", name, 1).out for name in ("--details", "--explain")]
    assert asked[0] == asked[1] != ""
    assert "--explain" not in telemetry("diagnose", "--help").out


def test_findings_are_numbered_for_people(telemetry: Telemetry, terminal: Terminal) -> None:
    assert telemetry("diagnose", "broken").out.splitlines()[1].startswith("E\tnon_finite")
    terminal(80)
    out = telemetry("diagnose", "broken", "--no-color").out
    assert "\n1  E  non_finite" in out
    assert "--details 1" in out


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("select 1 from steps", "'select 1 from steps'"),
        ("where site = 'logits'", "\"where site = 'logits'\""),
        ("where layer = 'a$b'", "'where layer = '\"'\"'a$b'\"'\"''"),
    ],
)
def test_a_statement_is_one_word_of_a_shell(text: str, word: str) -> None:
    assert in_quotes(text) == word
    assert shlex.split(word) == [text]


def test_rows_share_one_scale_that_is_logarithmic_over_decades() -> None:
    scale = finding_details.scale_of([series(1e-6, 1e-3), series(1.0, 0.0)])
    assert scale is not None
    assert scale.is_log
    assert scale.picture([1e-6, 0.0, 1e-3, 1.0, None], levels=BLOCKS) == "▁▁▅█ "
    linear = finding_details.scale_of([series(-1.0, 1.0), series(float("nan"), float("inf"))])
    assert linear is not None
    assert linear.picture([-1.0, 1.0, float("nan")], levels=BLOCKS) == "▁█x"
    flat = finding_details.scale_of([series(300.0, 300.0)])
    assert flat is not None
    assert flat.picture([300.0, 0.0], levels=BLOCKS) == "█▁"
    limited = finding_details.scale_of([series(6.0, 10.0)], 2.0)
    assert limited is not None
    assert limited.picture([2.0, 6.0, 10.0], levels=BLOCKS) == "▁▅█"
    assert finding_details.scale_of([replace(series(1.0), values=np.array([float("nan")]))]) is None
