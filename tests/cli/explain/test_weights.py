import json
from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated, widest

from telemetry import Store, explain
from telemetry.errors import UsageError

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "shop", "in_process")]

MODEL = ("--model", "shop:build")
VERB = ("explain", "weights", "base")


def test_every_layer_is_a_line_and_is_kept(telemetry: Telemetry) -> None:
    done = telemetry(*VERB, *MODEL)
    assert done.code == 0
    assert (
        done.out.splitlines()[0] == "1 layer: 1 dead row (weight), 0 pairs of near-duplicate rows."
    )
    sql = "SELECT kind, layer, n_units, n_dead, image_path FROM feature_visualizations"
    assert telemetry("query", sql).out.splitlines()[1].split("\t") == [
        "weights",
        "weight",
        "2",
        "1",
        "",
    ]


def test_one_layer_has_a_picture_and_its_numbers(telemetry: Telemetry, example: Path) -> None:
    done = telemetry(*VERB, "weight", *MODEL)
    assert done.code == 0
    assert done.out.startswith("weight: 2 rows use 1.0 directions")
    assert "1 dead (0)" in done.out
    assert "dead rows\t1 (50 %)\t0" in done.out
    assert "octaves" in done.out
    (png,) = example.glob("*/*/explain/images/*.png")
    (array,) = example.glob("*/*/explain/arrays/*.npy")
    sql = "SELECT params FROM feature_visualizations"
    assert json.loads(telemetry("query", sql).out.splitlines()[1]) == {"top": 64, "seed": 0}
    assert (png.stem, done.out.splitlines()[-1].endswith(png.name)) == (array.stem, True)


@pytest.mark.parametrize("layer", [(), ("weight",)])
def test_the_json_document_has_its_published_shape(
    telemetry: Telemetry, layer: tuple[str, ...]
) -> None:
    done = telemetry(*VERB, *layer, *MODEL, "--json", "--no-store")
    document = validated("explain", done.out)
    assert document["stored"] is False
    assert document["weights"][0]["dead"] == [0]
    assert document["weights"][0]["forwards"] == 0


def test_without_a_model_recorded_histograms_are_shown(telemetry: Telemetry) -> None:
    done = telemetry(*VERB)
    assert done.code == 0
    assert "recorded at step" in done.out
    document = validated("explain", telemetry(*VERB, "--json").out)
    row = document["recorded"][0]
    assert sum(count for _, count in row["octaves"]) == pytest.approx(row["n"], rel=0.1)


def test_python_reads_what_a_run_recorded_too(store: Path) -> None:
    run = Store.open(store).select("base")
    rows = explain.weights(run)
    assert all(sum(row.octaves.values()) <= 1.1 * row.n for row in rows)
    assert explain.weights(run, rows[0].parameter) == rows[:1]
    with pytest.raises(UsageError, match="has recorded no layer 'conv9'"):
        explain.weights(run, "conv9")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("conv9", *MODEL), "no layer 'conv9'; there are weight"),
        (("conv9",), "has recorded no layer 'conv9'"),
        (("--step", 3), "step 3 was not sampled"),
        ((*MODEL, "--checkpoint", "gone.pt"), "no file matches"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry(*VERB, *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not list(example.glob("*/*/feature_visualizations"))


@pytest.mark.parametrize("words", [MODEL, ("weight", *MODEL), ()])
def test_a_terminal_of_80_columns_holds_it(
    telemetry: Telemetry, terminal: Terminal, words: tuple[str, ...]
) -> None:
    terminal(80)
    assert widest(telemetry(*VERB, *words, "--no-store", "--no-color").out) <= 80
