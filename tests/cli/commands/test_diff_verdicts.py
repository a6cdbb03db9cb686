"""What `diff` says of recorded runs: one table of every wording of a verdict, and of its cells."""

from pathlib import Path

import pytest
from command_line import Telemetry, validated
from synthetic import RunBuilder

SIDES = ("base", "candidate")


def record(store: Path, *, spread: float, shift: float) -> None:
    """Three runs a side, one `spread` apart, the candidate's `shift` above the base's of 1."""
    for side, moved in zip(SIDES, (0.0, shift), strict=True):
        for place in (-1, 0, 1):
            run = f"20260102-03040{place + 1}-{side[0]}0000{place + 1}"
            value = 1 + moved + spread * place
            built = RunBuilder(store, run=run, name=side, tags=(side,)).losses([2.0, 2.0, 2.0])
            built.metric("val_loss", dict.fromkeys(range(3), value)).write()


def row(out: str, name: str) -> list[str]:
    """The cells of a metric on the screen of a pipe."""
    rows = [line.split("\t") for line in out.splitlines()]
    return next(cells for cells in rows if cells[0].strip() == name)


@pytest.mark.parametrize(
    ("spread", "shift", "verdict", "word", "code", "sentence"),
    [
        pytest.param(
            *(0.02, -0.10, "improvement", "better", 0),
            "better (p 0.0018), and by more than the margin of 1 %.",
            id="better",
        ),
        pytest.param(
            *(0.02, 0.10, "regression", "worse", 1),
            "worse (p 0.0018), and by more than the margin of 1 %.",
            id="worse",
        ),
        pytest.param(
            *(0.02, 0.05, "regression", "worse", 1),
            (
                "worse (p 0.019); the best estimate exceeds the margin of 1 %, but the "
                "interval includes smaller changes."
            ),
            id="worse, perhaps by less than the margin",
        ),
        pytest.param(
            *(0.02, -0.041, "improvement", "better", 0),
            (
                "better (p 0.033) in the one-sided test; the size is uncertain: the best "
                "estimate exceeds the margin of 1 %, but the two-sided interval contains 0."
            ),
            id="better in the one-sided test",
        ),
        pytest.param(
            *(0.02, 0.041, "regression", "worse", 1),
            (
                "worse (p 0.033) in the one-sided test; the size is uncertain: the best "
                "estimate exceeds the margin of 1 %, but the two-sided interval contains 0."
            ),
            id="worse in the one-sided test",
        ),
        pytest.param(
            *(0.001, 0.0, "no_change", "same", 0),
            "equal within the margin of 1 % (p < 0.001).",
            id="no change",
        ),
        pytest.param(
            *(0.0049, 0.0, "no_change", "same", 0),
            (
                "equal within the margin of 1 % according to two one-sided tests (p 0.033), "
                "although the wider two-sided interval reaches beyond it."
            ),
            id="no change, by two one-sided tests",
        ),
        pytest.param(
            *(0.02, 0.03, "inconclusive", "unclear", 3),
            "the runs cannot show whether there is a change; with 3 runs per side a change of",
            id="beyond the margin, and the interval holds 0",
        ),
        pytest.param(
            *(0.5, 0.0, "inconclusive", "unclear", 3),
            "the runs cannot show whether there is a change; with 3 runs per side a change of",
            id="within the margin, and the interval is wide",
        ),
        pytest.param(
            *(0.0035, 0.009, "inconclusive", "unclear", 3),
            "the runs cannot show whether this is beyond the margin of 1 %; with 3 runs per side",
            id="a change, and the margin is within the interval",
        ),
    ],
)
def test_each_verdict_has_its_words(  # noqa: PLR0913 - a row of the table
    *,
    spread: float,
    shift: float,
    verdict: str,
    word: str,
    code: int,
    sentence: str,
    store: Path,
    telemetry: Telemetry,
) -> None:
    record(store, spread=spread, shift=shift)
    options = ("--base", "tag=base", "--candidate", "tag=candidate", "--metric", "val_loss")
    done = telemetry("diff", *options, "--margin", "1%")
    assert done.code == code
    assert f"VERDICT\t{verdict}" in done.out
    assert f": {sentence}" in " ".join(done.out.split())
    assert word in row(done.out, "val_loss")
    document = validated("diff", telemetry("diff", *options, "--margin", "1%", "--json").out)
    assert document["verdict"] == verdict


@pytest.mark.parametrize(
    ("shift", "cell"),
    [(0.03, "unclear"), (0.10, "")],
    ids=["its interval holds 0", "its interval leaves 0 out"],
)
def test_best_value_and_area_get_a_word_only_where_their_intervals_hold_0(
    shift: float, cell: str, store: Path, telemetry: Telemetry
) -> None:
    """No claim is made of them: beyond the margin, they are neither better nor worse."""
    record(store, spread=0.02, shift=shift)
    done = telemetry(
        *("diff", "--base", "tag=base", "--candidate", "tag=candidate", "--metric", "val_loss"),
        *("--margin", "1%"),
    )
    for name in ("val_loss best", "val_loss area"):
        assert row(done.out, name)[5] == cell
