"""`telemetry cv run`: trains in a child process, says what came of it, and can be repeated."""

import sys
from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated, widest

from telemetry.cli.models import child as model_child
from telemetry.cli.models.child import ModelDied

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("trainings")]
in_process = pytest.mark.usefixtures("in_process")

TRAININGS = """
N = 12
labels = [i % 2 for i in range(N)]
ragged = [[1], [2]]

def patients():
    return [i // 2 for i in range(N)]

def broken():
    raise RuntimeError("no such disk")

def train_and_score(params, train_idx, test_idx, seed, callback):
    print("training")
    if params["gain"] == "bad":
        raise ValueError("gain is bad")
    if seed >= params.get("fails_from", 99):
        raise RuntimeError(f"seed {seed}")
    score = params["gain"] + 0.01 * seed + 0.003 * (seed % 2) * params["gain"]
    return {"accuracy": score if params["gain"] < 9 else float("nan")}
"""
FOLDS = ("--folds", 3, "--repeats", 1)
WORDS = ("cv", "run", "--entry", "trainings:train_and_score", "--params", "grid.toml", *FOLDS)


@pytest.fixture
def trainings(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training and a grid in the working folder, as a user would write them."""
    (store.parent / "trainings.py").write_text(TRAININGS, "utf-8")
    write_grid(store, "[params]\ngain = [0.1, 0.5]\n[fixed]\nepochs = 2\n")
    monkeypatch.delitem(sys.modules, "trainings", raising=False)


def write_grid(store: Path, text: str) -> None:
    (store.parent / "grid.toml").write_text(text, "utf-8")


@in_process
def test_what_was_trained_is_told_and_can_be_compared(telemetry: Telemetry) -> None:
    done = telemetry(*WORDS, "--labels", "trainings:labels")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].endswith(": 6 folds trained for 2 configurations.")
    assert "gain=0.5\t0.5105\t3\t0" in lines
    command = next(line for line in lines if line.startswith("NEXT\t")).split("\t")[1]
    assert command.startswith("telemetry cv compare ")
    compared = telemetry(*command.split()[1:])
    assert compared.code == 0
    assert compared.out.startswith("use gain=0.5: it is significantly better")


@in_process
def test_the_same_command_again_trains_what_lacks_a_score(
    telemetry: Telemetry, store: Path
) -> None:
    write_grid(store, '[params]\ngain = [0.1, "bad", 9]\n')
    first = telemetry(*WORDS, "--n", 12)
    assert first.code == 3
    assert "gain=bad: 3 folds failed: ValueError: gain is bad" in first.out
    assert "gain=9: 3 folds diverged: accuracy is nan" in first.out
    again = telemetry(*WORDS, "--n", 12, "--json")
    document = validated("cv", again.out)
    assert (document["trained"], document["kept"]) == (3, 6)
    assert [entry["lost"] for entry in document["configurations"]] == [0, 3, 3]


@in_process
def test_the_json_document_has_its_published_shape(telemetry: Telemetry) -> None:
    words = (*WORDS, "--groups", "trainings:patients", "--labels", "trainings:labels")
    document = validated("cv", telemetry(*words, "--json").out)
    assert (document["verb"], document["examples"], document["grouped"]) == ("cv.run", 12, True)
    first = document["configurations"][0]
    assert (first["title"], first["parameters"]) == ("gain=0.1", {"gain": 0.1, "epochs": 2})
    assert [fold["status"] for fold in first["folds"]] == ["ok"] * 3


@in_process
def test_the_winner_is_scored_on_the_holdout_and_the_comparison_says_so(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    done = telemetry(*WORDS, "--n", 12, "--holdout", 0.25)
    assert done.code == 0
    assert (
        "HOLDOUT\tgain=0.5 won; trained on all folds and scored on 3 examples outside all folds: "
        "accuracy 0.5315"
    ) in done.out.splitlines()
    words = (
        "gain=0.5 has the accuracy 0.5315 on 3 examples outside all folds, trained on all others"
    )
    assert words in telemetry("cv", "compare").out
    document = validated("cv", telemetry("cv", "compare", "--json").out)
    assert document["winner"]["holdout"]["value"] == pytest.approx(0.5315)
    document = validated("cv", telemetry(*WORDS, "--n", 12, "--holdout", 0.25, "--json").out)
    assert document["holdout"]["scores"] == {"accuracy": pytest.approx(0.5315)}
    terminal(80)
    assert widest(telemetry("cv", "compare", "--no-color").out) <= 80


@in_process
def test_what_the_choice_scores_is_told_and_its_cost_before_it_begins(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    done = telemetry(*WORDS, "--n", 12, "--nested", 2)
    assert done.code == 0
    cost = "18 trainings, not counting those that already have a score: 2 configurations on 3 folds"
    assert cost in done.err
    choice = (
        "NESTED\tchoosing this way scores accuracy 0.5105 (95 % 0.4711 .. 0.5499) on unseen "
        "examples: each of 3 folds tests the configuration that 2 inner folds of its training "
        "examples chose, gain=0.5 3 times"
    )
    assert choice in done.out.splitlines()
    document = validated("cv", telemetry(*WORDS, "--n", 12, "--nested", 2, "--json").out)
    assert (document["trained"], document["kept"], document["nested"]["failed"]) == (0, 18, 0)
    compared = telemetry("cv", "compare").out
    assert choice in compared.splitlines()
    assert "gives an unbiased one" not in compared
    document = validated("cv", telemetry("cv", "compare", "--json").out)
    assert [c["value"] for c in document["nested"]["choices"]] == pytest.approx([0.5, 0.5115, 0.52])
    terminal(80)
    assert widest(telemetry("cv", "compare", "--no-color").out) <= 80


@in_process
def test_trainings_that_fail_in_inner_folds_alone_are_told(
    telemetry: Telemetry, store: Path
) -> None:
    write_grid(store, "[params]\ngain = [0.1]\nfails_from = [4]\n")
    done = telemetry(*WORDS, "--n", 12, "--nested", 2)
    assert done.code == 3
    assert "6 trainings in inner folds failed: RuntimeError: seed 4 (trainings.py:" in done.out
    assert "nested cross-validation failed in 3 of 3 folds" in done.out
    assert "NEXT\trun the same command to train the failed folds again" in done.out


@in_process
def test_a_grid_follows_from_a_finding(telemetry: Telemetry, store: Path) -> None:
    write_grid(store, "[fixed]\ngain = 0.1\nlr = 0.3\n")
    words = (*WORDS, "--n", 12, "--from-finding", "exploding_gradient", "--json")
    document = validated("cv", telemetry(*words).out)
    titles = [entry["title"] for entry in document["configurations"]]
    assert titles[0] == "clip_norm=none, lr=0.3"
    assert len(titles) == 6


@in_process
def test_a_large_grid_needs_a_yes(telemetry: Telemetry, store: Path) -> None:
    write_grid(store, f"[params]\ngain = {[i / 100 for i in range(65)]}\n")
    done = telemetry(*WORDS, "--n", 12)
    assert done.code == 2
    assert "the grid has 65 configurations, 195 trainings; more than 64 need --yes" in done.err
    assert not store.exists()


@in_process
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "the number of examples is not known; use --n"),
        (("--n", 2), "2 examples cannot be split into 3 folds"),
        (("--n", 12, "--entry", "trainings:absent"), "trainings has no absent"),
        (("--n", 12, "--entry", "absent:f"), "absent cannot be imported"),
        (("--n", 12, "--entry", "trainings:labels"), "cannot be called"),
        (("--n", 12, "--entry", "trainings:broken"), "broken does not fit train_and_score"),
        (("--labels", "trainings:broken"), "labels trainings:broken: RuntimeError: no such disk"),
        (("--labels", "trainings:N"), "gives an int, expected one value for each example"),
        (("--labels", "trainings:ragged"), "one number or text for each example"),
        (("--n", 11, "--labels", "trainings:labels"), "n of 11, labels of 12"),
        (("--n", 12, "--params", "absent.toml"), "absent.toml: the grid cannot be read"),
        (
            ("--n", 12, "--from-finding", "loss_spike"),
            "a grid can be derived only from exploding_gradient",
        ),
        (("--n", 12, "--app-dir", "absent"), "no such folder"),
        (("--n", 12, "--holdout", 0.9), "Invalid value for '--holdout'"),
        (("--n", 4, "--holdout", 0.2), "4 examples cannot be split into 5 parts for the holdout"),
        (("--n", 12, "--nested", 1), "Invalid value for '--nested'"),
        (("--n", 12, "--nested", 9), "8 examples cannot be split into 9 inner folds"),
        (("--n", 12, "--jobs", 0), "Invalid value for '--jobs'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    telemetry: Telemetry, store: Path, words: tuple[object, ...], complaint: str
) -> None:
    done = telemetry(*WORDS, *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not store.exists()


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "finished scores are kept; run the same command to continue."),
        (ModelDied("it died"), 2, "with --jobs 2, a fold that dies does not stop the others"),
    ],
)
def test_a_command_that_ends_early_says_that_nothing_is_lost(
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    told: str,
) -> None:
    def end(*_how: object) -> None:
        raise error

    monkeypatch.setattr(model_child, "_run", end)
    done = telemetry(*WORDS, "--n", 12)
    assert done.code == code
    assert told in done.err


@in_process
def test_a_configuration_must_be_named(telemetry: Telemetry) -> None:
    done = telemetry("cv", "run", "--entry", "trainings:train_and_score", "--n", 12)
    assert done.code == 2
    assert "no configurations were given; name a file with --params" in done.err


@in_process
def test_a_terminal_of_80_columns_holds_it(
    telemetry: Telemetry, terminal: Terminal, store: Path
) -> None:
    write_grid(store, '[params]\ngain = [0.1, "bad"]\n[fixed]\nlong_name_of_it = "a b c d"\n')
    terminal(80)
    done = telemetry(*WORDS, "--n", 12, "--no-color")
    assert widest(done.out) <= 80


@pytest.mark.slow
def test_processes_of_their_own_train_and_what_they_print_is_no_answer(
    telemetry: Telemetry,
) -> None:
    """The whole way: a child process that starts two, with the user's module in a folder."""
    done = telemetry(*WORDS, "--n", 12, "--jobs", 2, "--json")
    document = validated("cv", done.out)
    assert (done.code, document["trained"]) == (0, 6)
    assert [entry["lost"] for entry in document["configurations"]] == [0, 0]
