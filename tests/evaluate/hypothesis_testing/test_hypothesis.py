"""The file of hypotheses: read, written, and every mistake in it named."""

from pathlib import Path

import pytest

from telemetry.errors import UsageError
from telemetry.evaluate.hypothesis_testing.file import (
    append_hypothesis,
    load_hypotheses,
    parse_hypotheses,
)
from telemetry.evaluate.hypothesis_testing.hypothesis import (
    Expectation,
    Hypothesis,
    Kind,
    Op,
    Towards,
)

EXAMPLE = """
[[hypothesis]]
name = "right-shift"
statement = "Digits moved one pixel to the right are still recognised"
kind = "invariance"
base = "shop.data:valid"
transform = "shop.checks:shift_right"
expect = { metric = "accuracy", op = "no_worse_than", value = -0.02, versus = "base" }
[[hypothesis]]
name = "night-images"
statement = "Night"
kind = "subset"
base = "shop.data:valid"
where = "m_time = 'night'"
expect = { metric = "accuracy", op = ">=", value = 0.90 }
min_size = 100
owner = "vision"
[[hypothesis]]
name = "more-rooms"
statement = "Another room makes no house cheaper"
kind = "direction"
base = "shop.data:houses"
transform = "shop.checks:add_room"
towards = "up"
expect = { metric = "accuracy", op = ">=", value = 0.99 }
[[hypothesis]]
name = "occluded-signs"
statement = "Occluded"
kind = "min"
dataset = "shop.data:occluded"
expect = { metric = "error", op = "<=", value = 0.05 }
"""


def test_a_file_is_read() -> None:
    shift, night, rooms, occluded = parse_hypotheses(EXAMPLE, "file")
    assert (shift.kind, shift.transform) == (Kind.INVARIANCE, "shop.checks:shift_right")
    assert str(shift.expect) == "accuracy no worse than -0.02"
    assert (night.where, night.min_size, night.owner) == ("m_time = 'night'", 100, "vision")
    assert (rooms.kind, rooms.towards, rooms.tolerance) == (Kind.DIRECTION, Towards.UP, None)
    assert (occluded.base, str(occluded.expect)) == ("shop.data:occluded", "error <= 0.05")


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    file = tmp_path / "hypotheses.toml"
    hostile = Hypothesis(
        name="quote",
        statement='"quotes" \\ and \x7f\u2028 \U0001f600\n[[hypothesis]]',
        kind=Kind.SUBSET,
        base="a:b",
        where="m_x = 'it''s'",
        tolerance=0.25,
        expect=Expectation(metric="mae", op=Op.AT_MOST, value=1e-7),
    )
    numbers = Hypothesis(
        name="numbers",
        statement="Close",
        kind=Kind.INVARIANCE,
        base="a:b",
        transform="typo:+0.1",
        tolerance=0.25,
        expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.95),
    )
    known = [*parse_hypotheses(EXAMPLE, "file"), numbers, hostile]
    for hypothesis in known:
        append_hypothesis(file, hypothesis)
    assert load_hypotheses(file) == known
    assert len({h.digest for h in known}) == 6
    with pytest.raises(UsageError, match="has a hypothesis quote"):
        append_hypothesis(file, hostile)


def test_comments_of_the_user_stay(tmp_path: Path) -> None:
    file = tmp_path / "hypotheses.toml"
    file.write_text("# ours\n" + EXAMPLE)
    more = parse_hypotheses(EXAMPLE.replace("right-shift", "left"), "file")[0]
    append_hypothesis(file, more)
    assert file.read_text().startswith("# ours\n" + EXAMPLE)
    assert [h.name for h in load_hypotheses(file)][-1] == "left"


@pytest.mark.parametrize(
    ("metric", "op", "limit", "value", "base", "holds"),
    [
        ("accuracy", Op.AT_LEAST, 0.9, 0.9, 0.0, True),
        ("accuracy", Op.AT_LEAST, 0.9, 0.89, 0.0, False),
        ("error", Op.AT_MOST, 0.05, 0.06, 0.0, False),
        ("accuracy", Op.NO_WORSE_THAN, -0.02, 0.93, 0.95, True),
        ("accuracy", Op.NO_WORSE_THAN, -0.02, 0.92, 0.95, False),
        ("accuracy", Op.NO_WORSE_THAN, -0.02, 0.99, 0.95, True),
        ("loss", Op.NO_WORSE_THAN, -0.1, 0.4, 0.5, True),
        ("loss", Op.NO_WORSE_THAN, -0.1, 0.7, 0.5, False),
        ("accuracy", Op.UNCHANGED, 0.01, 0.97, 0.95, False),
        ("accuracy", Op.UNCHANGED, 0.01, 0.945, 0.95, True),
    ],
)
def test_an_expectation_is_held_against_a_value(
    metric: str, op: Op, limit: float, value: float, base: float, *, holds: bool
) -> None:
    assert Expectation(metric=metric, op=op, value=limit).holds(value, base) is holds


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "right-shift"', 'name = "Right shift"', "expected lower-case letters"),
        ('name = "right-shift"', "", "hypothesis 1: name is None"),
        ("night-images", "right-shift", "two hypotheses are called right-shift"),
        ('kind = "min"', 'kind = "max"', "(occluded-signs): kind is 'max', expected one of min"),
        ("where =", "were =", "the key were is unknown; did you mean where"),
        ("where = \"m_time = 'night'\"", "", "kind subset needs where"),
        ("dataset =", 'where = "x"\ndataset =', "kind min has no where"),
        ('op = ">="', 'op = ">"', "expect.op is '>'"),
        ("value = 0.90", 'value = "most"', "expect.value is 'most', expected a number"),
        ("value = 0.90", 'value = 0.9, versus = "base"', "versus"),
        ('metric = "error"', 'metric = "f1"', "expect.metric is 'f1'"),
        ('metric = "error"', 'metric = "f1"', "expected one of accuracy, error, loss, mae"),
        ("min_size = 100", "min_size = 0", "min_size is 0"),
        ("min_size = 100", "tolerance = -1", "tolerance is -1, expected a number above 0"),
        ("min_size = 100", 'towards = "up"', "kind subset has no towards"),
        ('towards = "up"', "tolerance = 1", "kind direction has no tolerance"),
        (
            'towards = "up"',
            'towards = "left"',
            "towards is 'left', expected one of truth, up, down",
        ),
        ('statement = "Night"', 'statement = ""', "statement is ''"),
        ("[[hypothesis]]", "[hypothesis]", "not TOML|\\[\\[hypothesis\\]\\]"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_hypotheses(EXAMPLE.replace(old, new), "hypotheses.toml")
    message = str(refused.value)
    assert message.startswith("hypotheses.toml")
    assert any(word.replace("\\", "") in message for word in words.split("|"))


def test_a_minimum_is_not_held_against_itself(tmp_path: Path) -> None:
    file = tmp_path / "hypotheses.toml"
    file.write_text(EXAMPLE.replace('op = "<="', 'op = "no_worse_than"'))
    with pytest.raises(UsageError, match=r"occluded-signs: kind min does not compare with another"):
        load_hypotheses(file)


def test_a_file_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hypotheses cannot be read"):
        load_hypotheses(tmp_path / "absent.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(UsageError, match=r"as a table \[\[hypothesis\]\]"):
        load_hypotheses(tmp_path / "empty.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        load_hypotheses(tmp_path / "bytes.toml")
