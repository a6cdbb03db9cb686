from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest
from judged_examples import add_examples
from synthetic import RunBuilder


@pytest.fixture(autouse=True)
def _judged(store: Path) -> None:
    builder = RunBuilder(store, name="base")
    for step, right in ((10, [True, True, False]), (20, [False, True, True])):
        add_examples(
            builder,
            right,
            example_id=["first", "second", "third"],
            eval_id=f"e{step}",
            step=step,
            confidence=[0.97, 0.9, 0.6],
        )
    builder.write()


def test_what_stands_out_is_shown(telemetry: Telemetry, terminal: Terminal, golden: Golden) -> None:
    terminal(80)
    done = telemetry("hard-examples", "base", "--no-color")
    assert done.code == 0
    assert widest(done.out) <= 80
    golden("cli/examples-80.txt", done.out)


def test_the_json_document_has_its_published_shape(telemetry: Telemetry) -> None:
    document = validated("hard-examples", telemetry("hard-examples", "base", "--json").out)
    assert document["surely_wrong"] == ["first"]
    assert document["late"] == ["third"]
    assert [e["n_forgotten"] for e in document["examples"]] == [1, 0, 0]


def test_bad_input_is_one_line(telemetry: Telemetry) -> None:
    done = telemetry("hard-examples", "base", "--dataset", "nothing")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)


def test_without_steps_nothing_is_said_of_learning(store: Path, telemetry: Telemetry) -> None:
    builder = RunBuilder(store, run="20260102-030406-bbbbbb", name="plain")
    add_examples(builder, [True, False], step=None, confidence=0.95).write()
    lines = telemetry("hard-examples", "plain").out.splitlines()
    assert (
        lines[0]
        == "2 examples of shop.data:valid: 1 wrong, 1 of them with at least 90 % confidence."
    )
    assert lines[2].split("\t") == ["EXAMPLE", "LABEL", "ANSWER", "CONFIDENCE", "LOSS"]
    assert "--every-checkpoint" in lines[-1]
