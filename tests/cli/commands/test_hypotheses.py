from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest
from judged_examples import DATASET, add_examples
from synthetic import START, RunBuilder

from telemetry import Store
from telemetry.cli.screens import seed_advice
from telemetry.evaluate.hypothesis_testing import comparison as hypotheses

N = 400
TIMES = [{"time": "night" if i % 4 == 0 else "day"} for i in range(N)]
FILE = f"""
[[hypothesis]]
name = "night"
statement = "Signs are recognised at night"
kind = "subset"
base = "{DATASET}"
where = "m_time = 'night'"
expect = {{ metric = "accuracy", op = ">=", value = 0.8 }}
[[hypothesis]]
name = "noise"
statement = "Noise does not matter"
kind = "invariance"
base = "{DATASET}"
transform = "noise:0.1"
expect = {{ metric = "accuracy", op = "no_worse_than", value = -0.05, versus = "base" }}
[[hypothesis]]
name = "shift"
statement = "Never evaluated"
kind = "invariance"
base = "{DATASET}"
transform = "shift:1"
expect = {{ metric = "accuracy", op = ">=", value = 0.9 }}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seeds and a candidate that fails under noise."""
    store = tmp_path_factory.mktemp("hypotheses") / "telemetry-runs"
    difficulty = np.random.default_rng(0).random((2, N))
    for place, name in enumerate(["seed-0", "seed-1", "seed-2", "seed-3", "candid"]):
        builder = RunBuilder(
            store=store,
            run=f"20260102-030405-{name}",
            name=name,
            config={"lr": 0.1, "seed": place},
        )
        noise = 0.02 * np.random.default_rng(place + 1).normal(size=(2, N))
        right = difficulty + noise < 0.9
        right[1] &= (name != "candid") | (np.arange(N) % 3 > 0)
        for row, hypothesis in enumerate(["", "noise"]):
            add_examples(
                builder,
                right[row].tolist(),
                TIMES,
                hypothesis=hypothesis,
                eval_id=f"eval-{name}",
                written_at=START + timedelta(hours=place),
            )
        builder.write()
    return store


pytestmark = pytest.mark.usefixtures("example")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hypotheses.toml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("width", [80, 120])
def test_the_broken_hypothesis_fits_the_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    done = telemetry("hypotheses", "compare", "seed-0", "candid", "--no-color")
    assert done.code == 1
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/hypotheses-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


def test_json_is_the_stable_document(telemetry: Telemetry, file: Path, golden: Golden) -> None:
    done = telemetry("hypotheses", "compare", "seed-0", "candid", "--file", file, "--json")
    assert done.code == 1
    document = validated("hypotheses", done.out)
    assert document["verdict"] == "regression"
    assert "shift was not evaluated on both sides" in done.err
    golden("cli/hypotheses.json", done.out)


def test_a_comparison_is_kept_unless_that_is_refused(telemetry: Telemetry) -> None:
    arguments = ("hypotheses", "compare", "seed-0", "candid")
    assert telemetry(*arguments, "--no-store").code == 1
    count = ("query", "SELECT COUNT(*) AS n FROM hypothesis_results", "--format", "csv")
    assert telemetry(*count).out.split() == ["n", "0"]
    assert telemetry(*arguments).code == 1
    assert telemetry(*arguments).code == 1  # the same question: kept once
    assert telemetry(*count).out.split() == ["n", "2"]


def test_without_seeds_the_answer_is_undecided(telemetry: Telemetry) -> None:
    done = telemetry("hypotheses", "compare", "seed-0", "candid", "--seeds", "seed-0,seed-1")
    assert done.code == 3
    assert "no seed baseline: 2 of 3 required seed runs" in done.out
    assert "1 more seed run of seed-0 would decide (4 recommended)" in done.out
    assert "python TRAIN.py    # as seed-0, but not seed=0" in done.out
    assert "telemetry hypotheses run latest --model MODULE:NAME" in done.out
    assert "telemetry hypotheses compare seed-0 candid    # at last" in done.out
    assert "--no-seed-baseline" in done.out
    alone = telemetry("hypotheses", "compare", "seed-0", "candid", "--no-seed-baseline")
    assert alone.code == 1
    assert telemetry("hypotheses", "compare", "seed-0", "seed-1").code == 0


@pytest.mark.parametrize(
    ("of_base", "told"),
    [
        (
            {"tags": ("checkpoint",)},
            [
                "telemetry evaluate SEED1.pt SEED2.pt SEED3.pt --model MODULE:NAME",
                "telemetry hypotheses compare 0base0 0other --seeds SEED1.pt,SEED2.pt,SEED3.pt",
            ],
        ),
        (
            {"environment": {"script": "train.py"}},
            [
                "python train.py    # as base, with another seed",
                "telemetry evaluate latest --model MODULE:NAME",
                "telemetry hypotheses compare 0base0 0other --seeds RUN,RUN,RUN    # at last",
            ],
        ),
    ],
)
def test_the_commands_that_supply_seeds_are_those_of_the_base(
    tmp_path: Path, of_base: dict[str, object], told: list[str]
) -> None:
    for name in ("0base0", "0other"):
        own = of_base if name == "0base0" else {}
        builder = RunBuilder(
            store=tmp_path, run=f"20260102-030405-{name}", name=name.strip("0"), **own
        )
        add_examples(builder, [True] * 10).write()
    store = Store.open(tmp_path)
    found = hypotheses.compare(store, store.select("base"), store.select("other"))
    assert seed_advice.commands(found, None) == told


def test_hypotheses_are_listed_with_what_the_newest_run_makes_of_them(
    telemetry: Telemetry, file: Path, terminal: Terminal, golden: Golden
) -> None:
    telemetry("hypotheses", "compare", "seed-0", "candid")
    done = telemetry("hypotheses", "list", "--file", file, "--json")
    assert done.code == 0
    listed = validated("hypotheses", done.out)["hypotheses"]
    assert isinstance(listed, list)
    found = {entry["name"]: entry for entry in listed}
    assert found["noise"]["holds"] is False
    assert found["noise"]["verdict"] == "regression"
    assert found["night"]["holds"] is True
    assert (found["night"]["n"], found["night"]["n_runs"]) == (N // 4, 5)
    assert (found["shift"]["holds"], found["shift"]["run"]) == (None, None)
    terminal(80)
    shown = telemetry("hypotheses", "list", "--file", file, "--no-color")
    assert widest(shown.out) <= 80
    golden("cli/hypotheses-list-80.txt", "\n".join(map(str.rstrip, shown.out.split("\n"))))


def test_the_file_that_run_reads_by_itself_is_listed_too(
    telemetry: Telemetry,
) -> None:
    before = telemetry("hypotheses", "list").out
    Path("hypotheses.toml").write_text(FILE)
    listed = telemetry("hypotheses", "list").out
    named = telemetry("hypotheses", "list", "--file", "hypotheses.toml").out
    assert "shift" not in before
    assert listed == named
    assert "shift" in listed


def test_a_store_without_hypotheses_says_how_to_make_one(telemetry: Telemetry) -> None:
    done = telemetry("hypotheses", "list")
    assert done.code == 0
    assert "--save-hypothesis NAME" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "seed-0", "seed-0"], "is both base and candidate"),
        (["compare", "seed-0", "nobody"], "no run matches 'nobody'"),
        (["compare", "seed-0", "candid", "--q", "2"], "q is 2"),
        (["compare", "seed-0", "candid", "--file", "absent.toml"], "cannot be read"),
        (["compare", "seed-0"], "Missing argument"),
        (["judge"], "there is no command"),
    ],
)
def test_what_cannot_be_is_named(arguments: list[str], words: str, telemetry: Telemetry) -> None:
    done = telemetry("hypotheses", *arguments)
    assert done.code == 2
    assert words in done.err


def test_the_parts_explain_themselves(telemetry: Telemetry) -> None:
    whole = telemetry("hypotheses", "--help")
    assert whole.code == 0
    assert "compare  Compare a candidate with a base" in whole.out
    part = telemetry("hypotheses", "compare", "--help")
    assert part.code == 0
    assert "--no-seed-baseline" in part.out
    assert "telemetry hypotheses compare main latest" in part.out
