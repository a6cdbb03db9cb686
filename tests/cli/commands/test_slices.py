from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest
from judged_examples import Table, judged_run
from synthetic import RunBuilder

from telemetry.evaluate.hypothesis_testing.file import load_hypotheses


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs judged on the same examples; the second errs where b = 2 and e = 3."""
    store = tmp_path_factory.mktemp("judged") / "telemetry-runs"
    before, after = Table(n=2_000, seed=2), Table(n=2_000, seed=2)
    after.plant({"b": "2", "e": "3"}, error=0.6)
    for name, table in (("before", before), ("after", after)):
        judged_run(store, name, (~table.wrong).tolist(), metadata=table.metadata())
    RunBuilder(store=store, run="20260102-030405-plain0", name="plain").losses([1.0]).write()
    return store


pytestmark = pytest.mark.usefixtures("example")


@pytest.mark.parametrize("width", [80, 120])
def test_the_worst_group_fits_the_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    done = telemetry("slices", "after", "--no-color")
    assert done.code == 1
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/slices-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


def test_a_pipe_gets_every_value(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("slices", "after")
    golden("cli/slices.tsv", done.out)


def test_json_is_the_stable_document(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("slices", "after", "--json")
    assert done.code == 1
    document = validated("slices", done.out)
    assert document["slices"][0]["slice"] == [["m_b", "2"], ["m_e", "3"]]  # type: ignore[index,call-overload]
    golden("cli/slices.json", done.out)


def test_nothing_found_is_no_failure(telemetry: Telemetry) -> None:
    done = telemetry("slices", "before")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first.startswith("no group of examples is worse than the rest; ")
    assert ", overall error " in second
    assert "tested" not in second


def test_one_group_is_measured(telemetry: Telemetry) -> None:
    worse = telemetry("slices", "after", "--where", "m_b = 2 AND m_e = 3")
    assert worse.code == 1
    assert worse.out.startswith("where m_b = 2 AND m_e = 3 is worse than the rest: error 62")
    same = telemetry("slices", "after", "--where", "m_a = 1", "--json")
    assert same.code == 0
    assert validated("slices", same.out)["measured"] is True


def test_a_change_since_another_run_is_found(telemetry: Telemetry) -> None:
    done = telemetry("slices", "after", "--base", "before")
    assert done.code == 1
    assert done.out.startswith("worst where m_b = 2 and m_e = 3: error change +")


def test_diff_shows_the_same_change(telemetry: Telemetry) -> None:
    done = telemetry("diff", "before", "after", "--slices", "--json")
    assert done.code == 1
    assert validated("slices", done.out)["base"] == "20260102-030405-before"
    better = telemetry("diff", "after", "before", "--slices")
    assert better.code == 0
    assert better.out.startswith("no group of examples became worse than the rest since after; ")
    refused = telemetry("diff", "after", "before", "--slices", "--metric", "loss")
    assert refused.code == 2
    assert "use it with two runs only" in refused.err


def test_the_worst_group_becomes_a_hypothesis(telemetry: Telemetry, tmp_path: Path) -> None:
    file = tmp_path / "hypotheses.toml"
    done = telemetry("slices", "after", "--save-hypothesis", "b-and-e", "--file", file)
    assert done.code == 1
    (kept,) = load_hypotheses(file)
    assert (kept.name, kept.where) == ("b-and-e", "m_b = 2 AND m_e = 3")
    assert str(kept.expect).startswith("error <= 0.1")
    again = telemetry("slices", "after", "--save-hypothesis", "b-and-e", "--file", file)
    assert again.code == 2
    assert "has a hypothesis b-and-e; choose another name" in again.err
    assert len(load_hypotheses(file)) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plain"], 2, "has no evaluated examples"),
        (["after", "--by", "time"], 2, "there is no column 'time' to slice by"),
        (["after", "--where", "m_z = 1"], 2, "there is no column m_z"),
        (["after", "--where", "TRUE; DROP TABLE x"], 2, "cannot be used"),
        (["after", "--depth", "4"], 2, "depth is 4"),
        (["after", "--q", "0"], 2, "q is 0"),
        (["after", "--dataset", "shop"], 2, "data set 'shop' was not evaluated"),
        (["after", "--min-size", "1500"], 3, "too few"),
        (["before", "--save-hypothesis", "x"], 0, "so the hypothesis x is not saved"),
        (["after", "--save-hypothesis", "No Name"], 2, "lower-case letters"),
        (["after", "--base", "before", "--save-hypothesis", "x"], 2, "remove --base"),
    ],
)
def test_what_cannot_be_is_named(
    arguments: list[str], code: int, words: str, telemetry: Telemetry
) -> None:
    done = telemetry("slices", *arguments)
    assert done.code == code
    assert words in done.err
    assert not Path("hypotheses.toml").exists()
