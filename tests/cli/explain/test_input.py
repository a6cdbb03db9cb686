"""`telemetry explain input`: the answer first, the checks after, and nothing twice."""

import json
from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "shop", "in_process")]

PARTS = ("--model", "shop:build", "--dataset", "shop:valid", "--baseline", "zero")
ASK = ("explain", "input", "base", *PARTS, "--target", "pred", "--example")


def answer(telemetry: Telemetry, *words: object) -> dict[str, object]:
    document = validated("explain", telemetry(*words, "--json").out)
    (found,) = document["attributions"]
    return dict(found)


def test_people_see_the_answer_before_its_checks(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(100)
    out = telemetry(*ASK, 2).out
    assert "forward passes" in out.split("is called")[0]
    first, _, rest = out.partition("The checks follow.")
    assert rest
    assert "passed" not in first
    assert out.count("SHARE") == 1  # the parts are not shown again
    assert rest.index("determinism passed") < rest.index("is called")


def test_a_pipe_gets_one_whole_answer(telemetry: Telemetry) -> None:
    out = telemetry(*ASK, 2).out
    assert "The checks follow" not in out
    assert out.count("is called") == 1


def test_a_repeated_question_is_answered_from_the_run(telemetry: Telemetry, example: Path) -> None:
    first = answer(telemetry, *ASK, 2)
    again = answer(telemetry, *ASK, 2)
    assert (first["recalled"], again["recalled"]) == (False, True)
    assert {**again, "recalled": False} == first
    assert "the run has this answer already; --again" in telemetry(*ASK, 2).out
    assert answer(telemetry, *ASK, 2, "--again")["recalled"] is False
    assert answer(telemetry, *ASK, 2, "--no-store")["recalled"] is False
    assert answer(telemetry, *ASK, 3)["recalled"] is False
    (kept,) = example.glob(f"*/*/explain/answers/{first['attribution_id']}.json")
    kept.write_text(json.dumps({**first, "score": {"input": 99.0}}), "utf-8")
    assert answer(telemetry, *ASK, 2)["recalled"] is False  # the model says another score now


def test_a_stored_answer_of_another_shape_is_made_again(
    telemetry: Telemetry, example: Path
) -> None:
    first = answer(telemetry, *ASK, 2)
    (kept,) = example.glob(f"*/*/explain/answers/{first['attribution_id']}.json")
    changes: list[dict[str, object]] = [
        {**{name: value for name, value in first.items() if name != "top"}, "pieces": []},
        {**first, "checks": [{"name": "determinism"}]},
        {**first, "answer": 7},
    ]
    for changed in changes:
        kept.write_text(json.dumps(changed), "utf-8")
        done = telemetry(*ASK, 2)
        assert (done.code, done.err) == (0, "")
        assert "the run has this answer already" not in done.out
    assert answer(telemetry, *ASK, 2)["recalled"] is True


def test_an_answer_whose_picture_is_gone_is_made_again(telemetry: Telemetry, example: Path) -> None:
    answer(telemetry, *ASK, 2)
    for picture in example.glob("*/*/explain/images/*.png"):
        picture.unlink()
    assert answer(telemetry, *ASK, 2)["recalled"] is False


def test_a_method_is_checked_once_for_the_weights_of_a_run(telemetry: Telemetry) -> None:
    first, second = answer(telemetry, *ASK, 2), answer(telemetry, *ASK, 3)
    assert first["method_check"] == second["method_check"]
    assert first["method_check"]["example_id"] == first["example_id"]  # type: ignore[index]
    other = answer(telemetry, *ASK, 3, "--method", "occlusion")
    assert other["method_check"]["example_id"] == other["example_id"]  # type: ignore[index]
    assert int(str(second["forwards"])) < int(str(first["forwards"]))


def test_the_worst_are_summed_up_and_their_data_set_is_answered_once(
    telemetry: Telemetry, example: Path
) -> None:
    words = (*ASK[:-1], "--worst", 3, "--no-checks")
    out = telemetry(*words).out
    assert " leads in " in out.splitlines()[0]
    assert " of 3" in out.splitlines()[0]
    assert telemetry(*words).out.count("the run has this answer already") == 3
    (kept,) = example.glob("*/*/example_evals/**/*.parquet")
    before = kept.read_bytes()
    assert telemetry("evaluate", "base", *PARTS[:4]).code == 0  # it is the evaluation of `evaluate`
    assert [path.read_bytes() for path in example.glob("*/*/example_evals/**/*.parquet")] == [
        before
    ]
