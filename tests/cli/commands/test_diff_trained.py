"""`telemetry diff` says which parameters each side trains, as `show` and `layers` do."""

from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated
from synthetic import RunBuilder

pytestmark = pytest.mark.usefixtures("store")


def trained(store: Path, name: str, frozen: tuple[str, ...] = ()) -> None:
    builder = RunBuilder(store, run=f"20260102-030405-{name[0] * 6}", name=name)
    for depth, parameter in enumerate(("c1.weight", "c2.weight")):
        builder.parameter(parameter, shape=(10, 10), depth=depth, trainable=parameter not in frozen)
    builder.losses([2.0 - 0.01 * step for step in range(30)]).write()


def lines_of(out: str) -> list[str]:
    return [line.partition("trained")[2].strip() for line in out.splitlines() if "trained" in line]


def test_each_side_says_what_it_trains_and_which_parameters_are_frozen(
    telemetry: Telemetry, store: Path, terminal: Terminal
) -> None:
    trained(store, "all")
    trained(store, "frozen", ("c1.weight",))
    terminal(80)
    done = telemetry("diff", "all", "frozen", "--no-color")
    assert lines_of(done.out)[:2] == [
        "base: trainable 200 of 200",
        "candidate: trainable 100 of 200; frozen: c1.weight",
    ]
    document = validated("diff", telemetry("diff", "all", "frozen", "--json").out)
    assert document["trained"]["candidate"]["frozen"] == ["c1.weight"]


def test_what_both_train_is_said_once(
    telemetry: Telemetry, store: Path, terminal: Terminal
) -> None:
    trained(store, "all", ("c2.weight",))
    trained(store, "same", ("c2.weight",))
    terminal(80)
    done = telemetry("diff", "all", "same", "--no-color")
    assert lines_of(done.out) == ["trainable 100 of 200; frozen: c2.weight"]


def test_a_baseline_keeps_what_was_trained(
    telemetry: Telemetry, store: Path, terminal: Terminal, tmp_path: Path
) -> None:
    trained(store, "all", ("c2.weight",))
    trained(store, "none")
    file = tmp_path / "base.json"
    assert telemetry("export", "all", "--baseline", file).code == 0
    terminal(80)
    done = telemetry("diff", "--baseline-file", file, "--candidate", "none", "--no-color")
    assert lines_of(done.out)[0] == "base: trainable 100 of 200; frozen: c2.weight"
