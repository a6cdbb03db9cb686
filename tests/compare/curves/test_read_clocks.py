from pathlib import Path

from run_makers import builder
from synthetic import RunBuilder

from telemetry.compare.curves.metric_names import counts_tokens
from telemetry.compare.curves.read_clocks import read_clocks
from telemetry.compare.terms import Axis
from telemetry.store.runs.catalog import load_run
from telemetry.store.store import Store


def positions(built: RunBuilder) -> dict[Axis, list[float]]:
    run = load_run(built.write())
    with Store.open(built.store).session([run]) as session:
        return {axis: clock.values.tolist() for axis, clock in read_clocks(session, run).items()}


def test_samples_and_time_add_up_over_the_steps(tmp_path: Path) -> None:
    built = builder(tmp_path, 0).losses([3.0, 2.0, 1.0])
    assert positions(built) == {Axis.SAMPLES: [64, 128, 192], Axis.TIME: [10, 20, 30]}


def test_a_step_whose_samples_are_unknown_counts_as_a_usual_one(tmp_path: Path) -> None:
    built = builder(tmp_path, 0)
    for step, samples in enumerate((32, None, 32)):
        built.add("steps", step=step, loss=1.0, samples=samples, flags=1)
    assert positions(built) == {Axis.SAMPLES: [32, 64, 96]}


def test_tokens_are_read_as_a_total_or_as_the_count_of_a_step(tmp_path: Path) -> None:
    total = builder(tmp_path, 0).losses([3.0] * 3).metric("tokens_seen", {0: 5, 1: 9, 2: 20})
    total.metric("train/tokens_per_second", {0: 1, 1: 2, 2: 3})
    assert positions(total)[Axis.TOKENS] == [5, 9, 20]
    each = builder(tmp_path, 1).losses([3.0] * 3)
    each.metric("n_tokens", {0: 5, 1: 4, 2: 5}, phase="train")
    assert positions(each)[Axis.TOKENS] == [5, 9, 14]
    constant = builder(tmp_path, 2).losses([3.0] * 3).metric("tokens", {0: 5, 1: 5, 2: 5})
    assert positions(constant)[Axis.TOKENS] == [5, 10, 15]


def test_rates_and_losses_of_tokens_are_no_counts() -> None:
    assert all(map(counts_tokens, ("tokens", "num_input_tokens_seen", "train/n_tokens")))
    others = ("tokens_per_second", "loss_per_tokens", "tokenizer_loss", "token_accuracy")
    assert not any(map(counts_tokens, others))
