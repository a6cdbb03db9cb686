from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, steady, validated, widest
from example_results import DIAGNOSIS, HEALTHY
from example_store import trained
from synthetic import RunBuilder

from telemetry.cli.commands import show

pytestmark = pytest.mark.usefixtures("example")


@pytest.fixture
def _sick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "known_diagnosis", lambda _store, _run: DIAGNOSIS)


@pytest.mark.usefixtures("_sick")
@pytest.mark.parametrize("width", [80, 120])
def test_a_failed_run_fits_the_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    done = telemetry("show", "broken", "--no-color")
    assert done.code == 0
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/show-{width}.txt", steady(done.out))


@pytest.mark.usefixtures("_sick")
def test_a_pipe_gets_tabs(telemetry: Telemetry, golden: Golden) -> None:
    golden("cli/show.tsv", steady(telemetry("show", "broken").out))


@pytest.mark.usefixtures("_sick")
def test_json_holds_curves_model_capture_and_findings(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("show", "broken", "--json")
    document = validated("show", done.out)
    capture = document.pop("capture")
    assert capture["n_samples"] == 4
    assert capture["n_tensor_rows"] == 4 * 6 * 3
    assert capture["n_bytes"] > capture["bytes_per_tensor_row"] * capture["n_tensor_rows"] > 0
    assert document["state"] == "diverged"
    loss = next(entry for entry in document["metrics"] if entry["name"] == "loss")
    assert (loss["n"], loss["last"], loss["best_step"]) == (70, "nan", 59)
    golden("cli/show.json", _without_capture(done.out))


def _without_capture(text: str) -> str:
    """Sizes of files depend on the version of pyarrow."""
    lines = text.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if '"capture"' in line)
    end = next(i for i, line in enumerate(lines) if i > start and line.startswith("  }"))
    return "".join([*lines[:start], *lines[end + 1 :]])


def test_a_healthy_run_says_so(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "known_diagnosis", lambda _store, _run: HEALTHY)
    done = telemetry("show", "base")
    assert "no findings\t2 passed, 0 not checked; state: learning" in done.out


def test_without_a_selector_the_latest_run_is_shown(telemetry: Telemetry) -> None:
    assert "ffffff" in telemetry("show").out.splitlines()[0]


def test_a_run_without_a_step_is_described_in_words(telemetry: Telemetry) -> None:
    done = telemetry("show", "nothing")
    assert done.code == 0
    assert "finished, 0 steps" in done.out
    assert "no optimizer step and no metric was recorded" in done.out
    document = validated("show", telemetry("show", "nothing", "--json").out)
    assert document["metrics"] == []


def test_a_hostile_name_and_tag_stay_on_their_line(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    terminal(120)
    done = telemetry("show", "ffffff", "--no-color")
    assert "\x1b" not in done.out
    assert "\\x1b[31mred" in done.out.splitlines()[0]


def test_an_unknown_run_names_the_nearest(telemetry: Telemetry) -> None:
    done = telemetry("show", "broke")
    assert done.code == 2
    assert "Nearest: broken" in done.err


def test_an_ambiguous_run_names_the_candidates(telemetry: Telemetry, example: Path) -> None:
    trained(example, "base", hours=5).write()
    done = telemetry("show", "base")
    assert done.code == 2
    assert "matches 2 runs" in done.err
    assert "  aaaaaa  demo/base  started 2026-01-02T03:04:05" in done.err.splitlines()


def test_an_unreadable_manifest_is_an_error_in_words(telemetry: Telemetry, example: Path) -> None:
    next(example.glob("project=demo/*bbbbbb/run.json")).write_bytes(b"\xff\xfe")
    for verb in ("show", "layers", "diagnose"):
        done = telemetry(verb, "bbbbbb")
        assert done.code == 2
        assert "not readable as JSON" in done.err
        assert "Traceback" not in done.err


def test_a_torn_shard_is_named_and_the_rest_is_shown(telemetry: Telemetry, example: Path) -> None:
    shard = next(example.glob("project=demo/*bbbbbb/metrics/*/*.parquet"))
    shard.write_bytes(b"")
    done = telemetry("show", "wide")
    assert done.code == 0
    assert shard.name in done.err
    assert "loss" in done.out
    assert "val_loss" not in done.out


def test_clipping_groups_and_train_metrics_are_told(
    telemetry: Telemetry, store: Path, example: Path
) -> None:
    builder = RunBuilder(store=example, run="20260103-000000-zzzzzz", name="clipped")
    builder.losses([2.0, 1.0, 0.5, 0.4], clip_coefficient=0.5, grad_norm_total=3.0)
    builder.metric("accuracy", {0: 0.1, 3: 0.9}, phase="train")
    payload = {
        "class": "AdamW",
        "groups": [{"lr": 3e-4, "betas": [0.9, 0.95], "weight_decay": 0}, {"lr": 1e-3}],
    }
    builder.event("optimizer", **payload).event("cadence", step=2, after=2)
    builder.write()
    done = telemetry("show", "clipped")
    assert "AdamW lr 0.0003, betas 0.9 0.95, 2 groups" in done.out
    assert "clipped on 100 % of steps" in done.out
    assert "accuracy (train)" in done.out
    assert "every 2 steps" in done.out
    assert store.is_dir()


def test_rates_of_several_groups_say_of_which_and_a_name_says_its_phase_once(
    telemetry: Telemetry, store: Path, terminal: Terminal
) -> None:
    builder = RunBuilder(store, run="20260102-030405-gggggg", name="groups").losses([2.0, 1.0])
    for name in ("lr/1", "train_loss", "accuracy"):
        builder.metric(name, {0: 0.1, 1: 0.2}, phase="train")
    builder.write()
    terminal(80)
    lines = telemetry("show", "groups", "--no-color").out.splitlines()
    rows = {line[:20].strip().partition("  ")[0]: line for line in lines}
    assert rows["lr"].rstrip().endswith("parameter group 0")
    assert rows["lr/1"].rstrip().endswith("parameter group 1")
    assert {"train_loss", "accuracy (train)"} <= set(rows)


def test_what_has_no_better_direction_has_no_best(telemetry: Telemetry, example: Path) -> None:
    builder = RunBuilder(store=example, run="20260103-000000-yyyyyy", name="rates")
    builder.losses([2.0, 1.0, 0.5], lr=0.1, grad_norm_total=3.0)
    builder.metric("lr/1", {0: 0.3, 2: 0.2}, phase="train").metric("oddness", {0: 1.0, 2: 3.0})
    builder.metric("val_accuracy", {0: 0.3, 2: 0.2})
    builder.write()
    lines = telemetry("show", "rates").out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("METRIC"))
    best = {cells[0]: cells[2] for line in lines[start + 1 :] if len(cells := line.split("\t")) > 4}
    assert {name: value != "-" for name, value in best.items()} == {
        "loss": True,
        "grad_norm": False,
        "oddness": False,
        "val_accuracy": True,
        "lr": False,
        "lr/1": False,
        "step_s": False,
    }
    document = validated("show", telemetry("show", "rates", "--json").out)
    assert {entry["name"] for entry in document["metrics"] if entry["best"] is not None} == {
        "loss",
        "val_accuracy",
    }


def test_a_long_configuration_is_cut_for_people_and_whole_for_programs(
    telemetry: Telemetry, terminal: Terminal, example: Path
) -> None:
    config = {f"setting_{index}": index for index in range(40)}
    RunBuilder(store=example, run="20260103-000000-zzzzzz", name="set", config=config).write()
    assert telemetry("show", "set").out.count("setting_") == 40
    terminal(100)
    assert "16 more with --json" in " ".join(telemetry("show", "set").out.split())


def test_many_metrics_are_cut_for_people_and_whole_for_programs(
    telemetry: Telemetry, terminal: Terminal, example: Path
) -> None:
    builder = RunBuilder(store=example, run="20260103-000000-zzzzzz", name="talkative")
    builder.losses([2.0, 1.0])
    for index in range(40):
        builder.metric(f"val_metric_{index}", {0: 1.0, 1: 2.0})
    builder.write()
    assert telemetry("show", "talkative").out.count("val_metric_") == 40
    terminal(100)
    assert "19 more with --json" in telemetry("show", "talkative").out


def test_a_cadence_that_the_budget_has_forbidden_is_said(
    telemetry: Telemetry, example: Path
) -> None:
    builder = RunBuilder(store=example, run="20260103-000000-xxxxxx", name="refused")
    builder.losses([2.0, 1.0, 0.5, 0.4])
    builder.summary.update(every=5, cadence=25, overhead_share=0.02, overhead_s=0.5)
    builder.write()
    text = telemetry("show", "refused").out
    assert "0 of 4 steps sampled, every 25 steps at the end instead of every 5" in text
    assert "(500ms)" in text
    capture = validated("show", telemetry("show", "refused", "--json").out)["capture"]
    assert (capture["n_samples"], capture["n_steps"], capture["every"]) == (0, 4, 5)


@pytest.mark.parametrize(
    ("cadence", "words"), [(500, "every 500 steps at the end, "), (20, "every 20 steps, ")]
)
def test_a_cadence_that_was_denser_before_is_told_as_that_of_the_end(
    cadence: int, words: str, telemetry: Telemetry, example: Path
) -> None:
    other = example.parent / "other"
    builder = trained(other, "sampled", hours=0)
    builder.summary.update(cadence=cadence)
    builder.write()
    said = " ".join(telemetry("show", "sampled", "--store", other).out.split())
    assert f"10 of 200 steps sampled, {words}" in said


def test_a_run_is_judged_once_and_says_the_same_again(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = telemetry("show", "broken").out
    monkeypatch.setattr(
        "telemetry.diagnose.diagnose.diagnose_run", lambda *_, **__: pytest.fail("judged again")
    )
    assert _without_capture_line(telemetry("show", "broken").out) == _without_capture_line(told)


def _without_capture_line(text: str) -> list[str]:
    """The findings that are kept take place as well."""
    return [line for line in text.splitlines() if not line.startswith("capture")]
