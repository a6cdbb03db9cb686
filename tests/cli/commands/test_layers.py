from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest
from example_store import trained
from synthetic import RunBuilder

pytestmark = pytest.mark.usefixtures("example")


def column(out: str, header: str) -> list[str]:
    rows = [line.split("\t") for line in out.splitlines()]
    return [row[rows[0].index(header)] for row in rows[1:]]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    done = telemetry("layers", "base", "--no-color", "--quantiles")
    assert done.code == 0
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/layers-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


def test_a_pipe_gets_every_parameter(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("layers", "base")
    assert len(column(done.out, "PARAMETER")) == 6
    golden("cli/layers.tsv", done.out)


def test_json_holds_the_norms_of_one_step(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("layers", "base", "--step", 40, "--json")
    document = validated("layers", done.out)
    assert document["step"] == 40
    weight = document["layers"][1]
    assert weight["parameter"] == "net.0.weight"
    assert weight["grad_norm"] == pytest.approx(0.4 + 2.718281828 ** (-40 / 30), rel=1e-4)
    assert weight["update_ratio"] == pytest.approx(
        0.1 * weight["grad_norm"] / weight["weight_norm"], rel=1e-4
    )
    assert "quantiles" not in weight
    golden("cli/layers.json", done.out)


def test_a_range_is_summarised_by_medians(telemetry: Telemetry) -> None:
    done = telemetry("layers", "base", "--range", "20:60", "--json")
    document = validated("layers", done.out)
    assert document["range"] == [20, 60]
    middle = validated("layers", telemetry("layers", "base", "--step", 40, "--json").out)
    assert document["layers"][1]["grad_norm"] == middle["layers"][1]["grad_norm"]
    assert len(document["layers"][1]["trend"]) == 3


@pytest.mark.parametrize(("around", "step"), [(0, 0), (29, 20), (30, 20), (31, 40), (9999, 180)])
def test_around_takes_the_nearest_sample(around: int, step: int, telemetry: Telemetry) -> None:
    done = telemetry("layers", "base", "--around", around, "--json")
    assert validated("layers", done.out)["step"] == step


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("depth", "net.0.bias"),
        ("grad", "net.0.bias"),
        ("weight", "net.0.weight"),
        ("ratio", "net.0.bias"),
        ("dead", "net.4.bias"),
    ],
)
def test_rows_are_sorted_largest_first(sort: str, first: str, telemetry: Telemetry) -> None:
    assert column(telemetry("layers", "base", "--sort", sort).out, "PARAMETER")[0] == first


def test_activations_in_the_forward_of_the_model_are_those_of_the_model(
    telemetry: Telemetry, store: Path
) -> None:
    builder = RunBuilder(store, run="20260102-030405-rrrrrr", name="functional")
    builder.module("", type_="Net").activation("", "relu#0", 0, n_units=4, n_dead=1)
    builder.losses([1.0]).write()
    shown = telemetry("layers", "functional").out
    assert column(shown, "PARAMETER") == ["the model (Net)"]


def test_what_is_not_finite_is_counted_and_comes_first(telemetry: Telemetry, example: Path) -> None:
    builder = trained(example, "poisoned", hours=5)
    row = next(
        row
        for row in reversed(builder.rows["tensor_stats"])
        if row["kind"] == "gradient" and row["n"] == 320
    )
    row.update(n_nan=320, n_inf=0, sum=None, sumsq=None, min=None, max=None, absmax=None)
    builder.write()
    out = telemetry("layers", "poisoned", "--sort", "grad").out
    assert (column(out, "GRAD")[0], column(out, "NAN/INF")[:2]) == ("-", ["320", "0"])
    assert column(out, "trend")[0].endswith("x")
    assert "NAN/INF" not in telemetry("layers", "base").out


def test_quantiles_bracket_the_weights(telemetry: Telemetry) -> None:
    done = telemetry("layers", "base", "--quantiles", "--json")
    weight = validated("layers", done.out)["layers"][1]["quantiles"]["weight"]
    assert weight["p01"] < weight["p25"] < 0 < weight["p75"] < weight["p99"]
    assert weight["p75"] == pytest.approx(0.0674, rel=0.15)


def test_an_activation_without_parameters_has_a_row(telemetry: Telemetry, example: Path) -> None:
    builder = trained(example, "separate", hours=5)
    builder.module("net.1", type_="Tanh", depth=1, role="activation")
    builder.activation("net.1", "output", 180, n_units=32, n_saturated=8)
    builder.write()
    done = telemetry("layers", "separate")
    assert "net.1 (Tanh)" in column(done.out, "PARAMETER")
    assert "25 %" in column(done.out, "SATURATED")
    rows = validated("layers", telemetry("layers", "separate", "--json").out)["layers"]
    assert [row["saturated_share"] for row in rows if row["layer"] == "net.1"] == [0.25]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--step", "41"], "the nearest sampled step is 40"),
        (["--range", "41:59"], "no step in 41:59 was sampled"),
        (["--range", "9:1"], "is not A:B"),
        (["--range", "ten:"], "is not A:B"),
        (["--range", "5"], "is not A:B"),
        (["--step", "40", "--around", "40"], "exclude each other"),
    ],
)
def test_steps_that_cannot_be_shown_are_refused(
    arguments: list[str], words: str, telemetry: Telemetry
) -> None:
    done = telemetry("layers", "base", *arguments)
    assert done.code == 2
    assert words in done.err


def test_an_open_range_reaches_to_the_end(telemetry: Telemetry) -> None:
    done = telemetry("layers", "base", "--range", "100:", "--json")
    assert validated("layers", done.out)["range"] == [100, 180]


def test_a_run_without_samples_is_inconclusive(telemetry: Telemetry) -> None:
    done = telemetry("layers", "nothing")
    assert done.code == 3
    assert "has no sampled step" in done.err


def test_a_model_without_parameters_is_inconclusive(telemetry: Telemetry, example: Path) -> None:
    run = RunBuilder(store=example, run="20260103-000000-zzzzzy", name="bare").losses([1.0])
    run.module("").activation("", "output", 0).write()
    done = telemetry("layers", "bare")
    assert (done.code, done.out) == (3, "")
    assert "has no samples of parameters or activations" in done.err


def test_long_models_are_cut_for_people_only(
    telemetry: Telemetry, terminal: Terminal, example: Path
) -> None:
    builder = RunBuilder(store=example, run="20260103-000000-zzzzzz", name="deep").losses([1.0])
    for index in range(60):
        name = f"blocks.{index}.weight"
        builder.parameter(name, shape=(4, 4), depth=index).norm(name, "gradient", 0, 1.0, n=16)
    builder.write()
    assert len(column(telemetry("layers", "deep").out, "PARAMETER")) == 60
    terminal(80)
    assert "60 rows, 40 shown" in telemetry("layers", "deep").out
    assert "blocks.59.weight" in telemetry("layers", "deep", "--all").out
