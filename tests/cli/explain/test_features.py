import json
from pathlib import Path

import pytest
import torch
from command_line import Telemetry, Terminal, validated, widest
from pictures import build

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "shop", "in_process")]

VERB = ("explain", "features", "base")
PARTS = ("--model", "pictures:build", "--dataset", "pictures:Pictures")
TABLE = ("--model", "shop:build", "--dataset", "shop:valid")
EVOLUTION = ("--evolution", "--checkpoints", "ckpt/*.pt")


@pytest.fixture
def checkpoints(store: Path) -> None:
    """Three files; only the second layer moves."""
    folder = store.parent / "ckpt"
    folder.mkdir()
    model = build()
    for step, weight in ((0, torch.eye(3, 4).roll(1, 0) + 0.5), (5, None), (9, None)):
        state = model.state_dict() if weight is None else {**model.state_dict(), "3.weight": weight}
        torch.save({"step": step, "model": state}, folder / f"{step}.pt")


def test_units_are_lines_and_are_kept_with_their_picture(
    telemetry: Telemetry, example: Path
) -> None:
    done = telemetry(*VERB, "--layer", "2", "--units", "0,3", *PARTS)
    assert done.code == 0
    assert done.out.startswith("2 has 4 units, 1 of them dead on 30 examples")
    assert "9 of its 9 patches have the label left" in done.out
    assert "3\t\tdead" in done.out
    assert len(list(example.glob("*/*/explain/images/*.png"))) == 1
    sql = "SELECT kind, unit, dead, ok FROM feature_visualizations ORDER BY unit"
    rows = [line.split("\t") for line in telemetry("query", sql).out.splitlines()[1:]]
    assert rows == [["deconv", "0", "false", "true"], ["deconv", "3", "true", "true"]]
    sql = "SELECT DISTINCT params FROM feature_visualizations"
    assert json.loads(telemetry("query", sql).out.splitlines()[1]) == {
        "units": [0, 3],
        "top": 9,
        "limit": None,
    }


def test_rows_of_a_table_have_examples(telemetry: Telemetry) -> None:
    done = telemetry(*VERB, "--layer", "output", "--top", 1, *TABLE)
    assert done.code == 0
    sql = "SELECT kind, unit, image_path FROM feature_visualizations"
    assert telemetry("query", sql).out.splitlines()[1].split("\t")[:2] == ["top_examples", "1"]


@pytest.mark.usefixtures("checkpoints")
def test_evolution_says_when_each_layer_has_settled(telemetry: Telemetry, example: Path) -> None:
    done = telemetry(*VERB, "--layer", "2", *PARTS, *EVOLUTION)
    assert done.code == 0
    assert "Of steps 0 to 9: 1 unchanged; 3 settles at step 5." in done.out
    assert len(list(example.glob("*/*/explain/images/*.png"))) == 2
    sql = (
        "SELECT step, cka_to_last, params FROM feature_visualizations WHERE kind = 'evolution' "
        "AND layer = '3' ORDER BY step"
    )
    rows = [line.split("\t") for line in telemetry("query", sql).out.splitlines()[1:]]
    assert [int(row[0]) for row in rows] == [0, 5, 9]
    assert {row[2] for row in rows} == {'{"checkpoints": 3}'}
    assert float(rows[0][1]) < 0.99
    assert float(rows[2][1]) == pytest.approx(1)


@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize("more", [(), EVOLUTION])
def test_the_json_document_has_its_published_shape(
    telemetry: Telemetry, more: tuple[str, ...]
) -> None:
    done = telemetry(*VERB, "--layer", "2", *PARTS, *more, "--json", "--no-store")
    (found,) = validated("explain", done.out)["features"]
    assert (found["evolution"] is None) == (not more)
    assert found["units"][0]["patches"][0]["box"] == [0, 0, 12, 12]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (PARTS, "Missing option '--layer'"),
        (("--layer", "conv9", *PARTS), "no layer 'conv9'"),
        (("--layer", "2", "--units", "4", *PARTS), "units 0 to 3, no unit 4"),
        (("--layer", "2", "--units", "a", *PARTS), "write numbers, such as 0,3,7"),
        (("--layer", "2", "--units", "1", "--top", 2, *PARTS), "use only one of the two"),
        (("--layer", "2", "--checkpoints", "*.pt", *PARTS), "is only for --evolution"),
        (("--layer", "2", *PARTS, *EVOLUTION), "needs at least 3 checkpoints, found 0"),
        (("--layer", "2"), "no model was given"),
        (("--layer", "output", "--model", "shop:build"), "no examples were given"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry(*VERB, *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not list(example.glob("*/*/feature_visualizations"))


@pytest.mark.usefixtures("checkpoints")
def test_a_terminal_of_80_columns_holds_it(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(80)
    words = (*VERB, "--layer", "2", *PARTS, *EVOLUTION, "--no-store", "--no-color")
    assert widest(telemetry(*words).out) <= 80
