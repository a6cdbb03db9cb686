"""What `telemetry try` shows, asks and ends with; the experiments themselves are made up here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest

from telemetry.compare.curves.trends import Trend
from telemetry.store.store import Store
from telemetry.trials import plan as planning
from telemetry.trials import try_run
from telemetry.trials.plan import Plan
from telemetry.trials.remedies import KnownRemedy, name_of
from telemetry.trials.replay import CommandLine
from telemetry.trials.result import Outcome, Tried, Tries
from telemetry.trials.stored import keep_tries, stored_tries
from telemetry.trials.verdicts import Asked

pytestmark = pytest.mark.usefixtures("example")

CONFIRMED = Tried(
    dose="lr/8",
    changes="multiplies or divides the learning rate",
    treats="learning_rate_too_high",
    outcome=Outcome.CONFIRMED,
    reason="loss 2.31 without and 0.41 with it",
    metric="loss",
    step=299,
    n_seeds=2,
    n_better=2,
    control=2.31,
    treated=0.41,
    ci_low=0.38,
    ci_high=0.44,
    p=0.001,
    detectable=0.02,
    finding_gone=True,
    equal_steps=1,
    trend=Trend(
        first=0,
        last=299,
        base=tuple(2.31 + 0.01 * (at % 3) for at in range(48)),
        candidate=tuple(2.3 * 0.95**at + 0.3 for at in range(48)),
    ),
)
WEAK = replace(
    CONFIRMED,
    dose="clip=1.0",
    outcome=Outcome.NO_EFFECT,
    finding_gone=False,
    treated=2.29,
    ci_low=2.2,
    ci_high=2.4,
    p=0.4,
)
REFUSED = Tried(
    dose="minimize",
    changes="minimises the loss where an optimizer maximises it",
    outcome=Outcome.NOT_APPLICABLE,
    reason="no optimizer maximises",
)
GAIN = replace(
    CONFIRMED, dose="lr*8", treats=None, treated=0.2, ci_low=0.1, ci_high=0.3, finding_gone=None
)
TRIES = Tries(tried=(CONFIRMED, WEAK, REFUSED), steps=300, seed_offsets=(0, 1000))
PLAN = Plan(
    command=CommandLine(
        words=("/usr/bin/python", "train.py", "--lr", "0.1"), folder=Path("/home/me"), variables={}
    ),
    asked=(Asked(dose="lr/8", changes="divides", treats="learning_rate_too_high"),),
    steps=300,
    most_steps=300,
    seed_offsets=(0, 1000),
    step_s=0.01,
)
Answer = Callable[[Tries], None]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """`found(tries)`: what running the plan will give."""
    monkeypatch.setattr(planning, "plan_tries", lambda *_, **__: PLAN)

    def give(tries: Tries) -> None:
        monkeypatch.setattr(try_run, "carry_out", lambda *_, **__: tries)

    return give


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_a_picture_and_a_sentence_fit_the_terminal(
    width: int, found: Answer, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    found(TRIES)
    terminal(width)
    done = telemetry("try", "base", "--yes", "--no-color")
    assert done.code == 0
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/try-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


@pytest.mark.parametrize(
    ("tries", "code"),
    [
        (TRIES, 0),
        (replace(TRIES, tried=(WEAK, REFUSED)), 3),
        (replace(TRIES, tried=(), first_difference=7, apart=0.2), 1),
        (replace(TRIES, interrupted=True), 130),
    ],
)
def test_the_exit_code_and_the_document_say_what_was_shown(
    tries: Tries, code: int, found: Answer, telemetry: Telemetry
) -> None:
    found(tries)
    done = telemetry("try", "base", "--yes", "--json")
    assert done.code == code
    document = validated("try", done.out)
    assert document["first_difference"] == tries.first_difference


def test_a_training_that_is_not_deterministic_is_told_how_far_it_is(
    found: Answer, telemetry: Telemetry
) -> None:
    found(replace(TRIES, tried=(), first_difference=7, apart=0.2))
    done = telemetry("try", "base", "--yes")
    assert "another loss from step 7 on" in done.out
    assert "20 %" in done.out


def test_a_dry_run_says_what_would_run_and_its_cost(found: Answer, telemetry: Telemetry) -> None:
    found(TRIES)
    done = telemetry("try", "base", "--dry-run")
    assert done.code == 0
    assert "/usr/bin/python train.py --lr 0.1" in done.out
    assert "4 replays of 300 steps, about 28.0s" in done.out
    assert validated("try", telemetry("try", "--dry-run", "--json").out)["n_replays"] == 4


def test_nothing_is_run_where_nobody_can_be_asked(found: Answer, telemetry: Telemetry) -> None:
    found(TRIES)
    done = telemetry("try", "base")
    assert done.code == 2
    assert "train.py --lr 0.1" in done.err
    assert "--yes" in done.err


def test_a_run_that_no_script_made_is_an_error(telemetry: Telemetry) -> None:
    done = telemetry("try", "base", "--yes")
    assert done.code == 2
    assert "does not say how it was started" in done.err


@pytest.mark.parametrize("option", ["--seeds=0", "--steps=0", "--jobs=0", "--timeout=0"])
def test_odd_numbers_are_refused(option: str, telemetry: Telemetry) -> None:
    assert telemetry("try", "base", "--yes", option).code == 2


def test_diagnose_shows_what_was_confirmed(
    telemetry: Telemetry, terminal: Terminal, example: Path
) -> None:
    run = Store.open(example).select("base")
    assert keep_tries(run, TRIES).kept
    terminal(200)
    shown = telemetry("diagnose", "base", "--wide", "--no-color").out
    assert "confirmed by experiment: lr/8 brings the loss at step 299 from 2.310 to 0.4100" in shown
    assert "no effect seen: clip=1.0; does not apply: minimize" in shown
    tries = validated("diagnose", telemetry("diagnose", "base", "--json").out)["tries"]
    assert isinstance(tries, list)
    assert len(tries) == 3


def test_a_gain_is_told_from_what_answers_a_finding(
    found: Answer, telemetry: Telemetry, example: Path
) -> None:
    tries = replace(TRIES, tried=(CONFIRMED, GAIN, WEAK))
    found(tries)
    also = "also helps, but answers no finding: lr*8"
    assert also in telemetry("try", "base", "--yes").out
    tried = validated("try", telemetry("try", "base", "--yes", "--json").out)["tried"]
    assert isinstance(tried, list)
    assert [one["answers_finding"] for one in tried] == [True, False, False]
    keep_tries(Store.open(example).select("base"), tries)
    shown = telemetry("diagnose", "base").out
    assert also in shown
    assert "confirmed by experiment: lr*8" not in shown


def test_a_gain_alone_is_no_proof_of_a_cause(found: Answer, telemetry: Telemetry) -> None:
    found(replace(TRIES, tried=(GAIN, replace(CONFIRMED, finding_gone=False))))
    shown = telemetry("try", "base", "--yes").out
    assert "it answers no finding of this run: it is a gain, and no proof of a cause" in shown
    assert "also helps, but answers no finding: lr/8 (learning_rate_too_high stays)" in shown


def test_diff_tells_what_experiments_confirmed(
    telemetry: Telemetry, terminal: Terminal, example: Path
) -> None:
    keep_tries(Store.open(example).select("base"), replace(TRIES, tried=(CONFIRMED, GAIN)))
    terminal(200)
    shown = telemetry("diff", "base", "wide", "--wide", "--no-color").out
    assert shown.count("confirmed by experiment") == 1
    assert "(for learning_rate_too_high)" in shown
    tries = validated("diff", telemetry("diff", "base", "wide", "--json").out)["tries"]
    assert isinstance(tries, list)
    assert {(one["dose"], one["answers_finding"]) for one in tries} == {
        ("lr/8", True),
        ("lr*8", False),
    }


def test_a_second_experiment_replaces_the_first_on_screens(example: Path) -> None:
    store = Store.open(example)
    run = store.select("base")
    keep_tries(run, TRIES)
    keep_tries(run, replace(TRIES, tried=(replace(CONFIRMED, outcome=Outcome.REFUTED),)))
    verdicts = {one.dose: one.verdict for one in stored_tries(store, run)}
    assert verdicts["lr/8"] == "refuted"
    assert verdicts["minimize"] == "does not apply"


def test_remedies_are_listed(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownRemedy(
        id="lr", changes="changes the rate", doses=("lr/8",), treats={}, same_loss=True
    )
    monkeypatch.setattr("telemetry.trials.remedies.known_remedies", lambda: {"lr": known})
    assert "changes the rate" in telemetry("try", "--list").out
    assert validated("try", telemetry("try", "--list", "--json").out)["remedies"]
    assert [name_of(dose) for dose in ("lr/8", "lr[1]*2", "clip=1", "modes")] == [
        "lr",
        "lr",
        "clip",
        "modes",
    ]


def test_a_run_that_cannot_be_written_is_told(
    found: Answer, telemetry: Telemetry, example: Path
) -> None:
    run = Store.open(example).select("base")
    (run.ref.path / "tries").touch()  # no folder can be made in its place
    kept = keep_tries(run, TRIES)
    assert not kept.kept
    found(kept)
    done = telemetry("try", "base", "--yes")
    assert done.code == 0
    assert "could not be stored" in done.err
