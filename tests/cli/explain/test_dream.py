from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated, widest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "shop", "in_process")]

VERB = ("explain", "dream", "base", "--steps", 40)
PARTS = ("--model", "pictures:build", "--dataset", "pictures:Pictures")


def test_a_picture_is_made_and_kept(telemetry: Telemetry, example: Path) -> None:
    done = telemetry(*VERB, "--layer", "output", "--unit", 0, *PARTS)
    assert done.code == 0
    assert done.out.startswith('unit 0 of output ("left") reaches')
    assert "own_unit\t" in done.out
    assert list(example.glob("*/*/explain/images/*.png"))
    sql = "SELECT kind, layer, unit, ok, z > 5 AS above FROM feature_visualizations"
    found = telemetry("query", sql).out.splitlines()[1].split("\t")
    assert found == ["dream", "output", "0", "true", "true"]
    (identity,) = telemetry("query", "SELECT viz_id FROM feature_visualizations").out.split()[1:]
    settings = "settings\tsteps 40, smooth 1, octaves 1, start noise, limit 256"
    assert settings in telemetry("explain", "show", identity).out


def test_the_json_document_has_its_published_shape(telemetry: Telemetry) -> None:
    words = (*VERB, "--layer", "output", "--unit", 0, "--unit", 2, *PARTS)
    document = validated("explain", telemetry(*words, "--json", "--no-store").out)
    assert [entry["unit"] for entry in document["dreams"]] == [0, 2]
    assert document["dreams"][0]["image"] is None
    assert document["dreams"][0]["params"]["steps"] == 40
    assert document["dreams"][0]["argmax_unit"] == 0


def test_a_dead_unit_ends_with_3(telemetry: Telemetry) -> None:
    done = telemetry(*VERB, "--layer", "2", "--unit", 3, *PARTS)
    assert done.code == 3
    assert "is dead" in done.out
    assert "FAILED\tabove_noise" in done.out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--unit", 0, *PARTS), "Missing option '--layer'"),
        (("--layer", "conv9", "--unit", 0, *PARTS), "no layer 'conv9'"),
        (("--layer", "output", "--unit", 7, *PARTS), "units 0 to 2, no unit 7"),
        (("--layer", "output", "--unit", "x", *PARTS), "write a number"),
        (("--layer", "output", "--unit", 0, "--start", "nobody", *PARTS), "no example 'nobody'"),
        (("--layer", "output", "--unit", 0), "no model was given"),
        (("--layer", "output", "--unit", 0, "--model", "shop:build"), "no examples were given"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry(*VERB, *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not list(example.glob("*/*/feature_visualizations"))


def test_a_terminal_of_80_columns_holds_it(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(80)
    words = (*VERB, "--layer", "output", "--unit", 0, *PARTS, "--no-store", "--no-color")
    assert widest(telemetry(*words).out) <= 80
