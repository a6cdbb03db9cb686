import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import Telemetry, Terminal, validated, widest

from telemetry.format.manifest import Manifest, read_manifest, write_manifest
from telemetry.format.ownership import signed
from telemetry.json_values import Json
from telemetry.processes import this_process

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "shop")]

PARTS = ("--model", "shop:build", "--dataset", "shop:valid")


@pytest.mark.slow
def test_every_example_becomes_a_row_that_query_reads(telemetry: Telemetry) -> None:
    done = telemetry("evaluate", "base", *PARTS)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("12 examples of shop:valid: 83.3 % correct, loss ")
    assert len(done.out.splitlines()) == 12  # the sentence, the header, ten rows
    sql = "SELECT label, COUNT(*) AS n FROM example_evals WHERE NOT correct GROUP BY label"
    assert (
        sum(int(line.split("\t")[1]) for line in telemetry("query", sql).out.splitlines()[1:]) == 2
    )


@pytest.mark.slow
def test_what_the_child_says_is_wrong_is_said_here(telemetry: Telemetry) -> None:
    done = telemetry("evaluate", "base", "--model", "shop:bild", "--dataset", "shop:valid")
    assert (done.code, done.out) == (2, "")
    assert "shop has no bild; the nearest are build" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.usefixtures("in_process")
def test_the_json_document_has_its_published_shape(telemetry: Telemetry) -> None:
    first = validated("evaluate", telemetry("evaluate", "base", *PARTS, "--json").out)
    again = validated("evaluate", telemetry("evaluate", "base", *PARTS, "--json").out)
    assert [e["new"] for e in (*first["evaluations"], *again["evaluations"])] == [True, False]
    kept = telemetry("evaluate", "base", *PARTS, "--json", "--no-store", "--limit", 5)
    document = validated("evaluate", kept.out)
    assert document["stored"] is False
    assert document["evaluations"][0]["examples"] == 5


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "no model was given"),
        (("--model", "shop:build"), "no examples were given"),
        (("--model", "shop", "--dataset", "shop:valid"), "is not package.module:name"),
        (("--model", "shop:build", "--dataset", "shop:broken"), "no such disk"),
        ((*PARTS, "--model-args", "{"), "is not JSON"),
        ((*PARTS, "--checkpoint", "missing.pt"), "no file matches"),
        ((*PARTS, "--checkpoint", "shop.py"), "Save model.state_dict()"),
        ((*PARTS, "--every-checkpoint"), "needs a pattern"),
        ((*PARTS, "--device", "nowhere"), "--device nowhere"),
        ((*PARTS, "--app-dir", "elsewhere"), "no such folder"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry("evaluate", "base", *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(example.glob("*/*/example_evals"))


@pytest.mark.usefixtures("in_process")
def test_a_run_that_names_its_model_needs_no_options_unless_it_is_foreign(
    telemetry: Telemetry, example: Path
) -> None:
    folder = next(example.glob("project=*/run=20260102-030405-aaaaaa"))
    manifest = read_manifest(folder)

    def state(spec: dict[str, Json], **entries: Json) -> None:
        own = signed(manifest.run, manifest.project, spec)
        # Whoever knows our host and process is no owner.
        write_manifest(folder, replace(manifest, extra={**own, **entries}, owner=this_process()))

    spec: dict[str, Json] = {"model": "shop:build", "dataset": "shop:valid"}
    pick = {**spec, "output_fn": "shop:first"}
    state(spec)
    assert telemetry("evaluate", "base", "--no-store").code == 0
    state(pick)
    assert telemetry("evaluate", "base", "--no-store").out.startswith("12 examples of shop:valid")
    state(spec, explain=pick)
    done = telemetry("evaluate", "base", "--no-store")
    assert "code shop:build, shop:valid, shop:first, which would run with its model" in done.err
    assert "recorded elsewhere, or run.json was changed by hand" in done.err
    state(spec, explain_signature=None)
    done = telemetry("evaluate", "base", "--no-store")
    assert done.code == 2
    assert "not have your signature: it was recorded elsewhere, or by an older version" in done.err
    assert telemetry("evaluate", "base", "--no-store", "--trust-run").code == 0
    assert telemetry("evaluate", "base", "--no-store", *PARTS).code == 0


@pytest.mark.usefixtures("in_process")
def test_every_checkpoint_is_an_evaluation_with_its_step(telemetry: Telemetry) -> None:
    import torch

    for step in (3, 7):
        weight = torch.zeros(2, 4)
        weight[1] = step - 5.0
        torch.save({"model": {"weight": weight}, "step": step}, f"step{step}.pt")
    words = (*PARTS, "--checkpoint", "step*.pt")
    document = json.loads(telemetry("evaluate", "base", *words, "--every-checkpoint", "--json").out)
    found = {e["step"]: e["accuracy"] for e in document["evaluations"]}
    assert found == {3: pytest.approx(2 / 12), 7: pytest.approx(10 / 12)}
    shown = telemetry("evaluate", "base", *words, "--every-checkpoint").out
    assert shown.startswith(
        "2 checkpoints on shop:valid: 16.7 % correct at step 3, 83.3 % correct at "
    )
    newest = json.loads(telemetry("evaluate", "base", *words, "--json").out)
    assert [e["step"] for e in newest["evaluations"]] == [7]


@pytest.mark.usefixtures("in_process")
def test_people_are_told_what_to_ask_next_and_which_weights_ran(
    telemetry: Telemetry, terminal: Callable[[int], None]
) -> None:
    terminal(80)
    done = telemetry("evaluate", "base", *PARTS, "--no-store")
    assert "initial weights of the model, because no --checkpoint was given" in " ".join(
        done.out.split()
    )
    assert f"telemetry explain input aaaaaa --worst 1 {' '.join(PARTS)}" in done.out


@pytest.mark.usefixtures("in_process")
def test_the_model_of_the_run_by_its_name_keeps_its_arguments(
    telemetry: Telemetry, example: Path
) -> None:
    folder = next(example.glob("project=*/run=20260102-030405-aaaaaa"))
    manifest = read_manifest(folder)
    spec: dict[str, Json] = {
        "model": "shop:build",
        "dataset": "shop:valid",
        "model_args": {"width": 3},
    }
    own = signed(manifest.run, manifest.project, spec)
    write_manifest(folder, replace(manifest, extra=own))
    words = ("evaluate", "base", "--no-store", "--model", "shop:build")
    assert "cannot be built" in telemetry(*words).err
    write_manifest(folder, replace(manifest, extra={"explain": spec}))
    assert telemetry(*words, "--dataset", "shop:valid").code == 0


def spec_in(manifest: Manifest) -> dict[str, Json]:
    found = manifest.extra["explain"]
    assert isinstance(found, dict)
    return found


def save_weights(name: str, factor: float) -> None:
    """Weights of `shop:build`; only the sign of the factor changes its answers."""
    weight = torch.tensor([[0.0] * 4, [1.0] * 4]) * factor
    torch.save({"weight": weight}, name)


@pytest.fixture
def empty(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that does not exist yet, and two files of weights."""
    monkeypatch.setenv("TELEMETRY_STORE", str(tmp_path / "other-runs"))
    save_weights("good.pt", 1.0)
    save_weights("bad[1].pt", -1.0)
    torch.save({"weight": torch.zeros(3, 4)}, "wide.pt")
    del store
    return tmp_path / "other-runs"


@pytest.mark.usefixtures("in_process")
def test_a_bare_checkpoint_has_a_run_of_its_own(telemetry: Telemetry, empty: Path) -> None:
    done = telemetry("evaluate", "good.pt", "bad[1].pt", *PARTS, "--json")
    document = validated("evaluate", done.out)
    accuracies = [e["accuracy"] for e in document["evaluations"]]
    assert accuracies == [pytest.approx(10 / 12), pytest.approx(2 / 12)]
    runs = [e["run"] for e in document["evaluations"]]
    assert runs == [f"checkpoint-{e['checkpoint']}" for e in document["evaluations"]]
    manifest = read_manifest(empty / "project=checkpoints" / f"run={runs[0]}")
    assert (manifest.name, manifest.tags) == ("good.pt", ("checkpoint",))

    Path("elsewhere").mkdir()
    shutil.copy("good.pt", "elsewhere/same.pt")  # the same weights are the same run
    again = validated("evaluate", telemetry("evaluate", "elsewhere/same.pt", "--json").out)
    assert [(e["run"], e["new"]) for e in again["evaluations"]] == [(runs[0], False)]
    assert telemetry("slices", "good.pt", "--by", "half", "--min-size", 3).code == 0

    changed = {**manifest.extra, "explain": {**spec_in(manifest), "output_fn": "shop:first"}}
    folder = empty / "project=checkpoints" / f"run={runs[0]}"
    write_manifest(folder, replace(manifest, extra=changed))
    assert "run.json was changed by hand" in telemetry("evaluate", "good.pt").err
    assert telemetry("evaluate", "good.pt", *PARTS).code == 0  # says how, anew and alone
    assert "output_fn" not in spec_in(read_manifest(folder))
    assert telemetry("evaluate", "good.pt").code == 0
    assert "12 examples are too few" in telemetry("diff", "good.pt", "bad[1].pt", "--slices").err
    assert "good.pt" in telemetry("runs", "--tag", "checkpoint").out


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("good.pt",), "no model was given"),
        (("good.pt", "--model", "shop:build"), "no examples were given"),
        (("good.pt", *PARTS, "--checkpoint", "bad[1].pt"), "good.pt is already a checkpoint"),
        (("wide.pt", *PARTS), "wide.pt: not a checkpoint of this model"),
        (
            ("absent.pt", *PARTS),
            "absent.pt: there is neither a checkpoint file nor a run with that name",
        ),
        (("./shop.py", *PARTS), "Save model.state_dict()"),
        (("absent", *PARTS), "the store does not exist"),
        ((), "Missing argument"),
    ],
)
def test_a_bare_checkpoint_that_cannot_be_judged_leaves_nothing(
    telemetry: Telemetry, empty: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry("evaluate", *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not empty.exists()


@pytest.mark.usefixtures("in_process")
def test_nothing_is_kept_of_a_bare_checkpoint_unless_asked(
    telemetry: Telemetry, empty: Path
) -> None:
    assert telemetry("evaluate", "good.pt", *PARTS, "--no-store").code == 0
    assert not empty.exists()


@pytest.mark.usefixtures("in_process")
def test_several_models_are_shown_by_name_with_what_to_do_next(
    telemetry: Telemetry, terminal: Terminal, empty: Path
) -> None:
    terminal(80)
    done = telemetry("evaluate", "good.pt", "bad[1].pt", *PARTS, "--no-color")
    short = next(path.name for path in (empty / "project=checkpoints").iterdir())[-6:]
    assert f"telemetry explain input {short} --worst 1" in done.out
    assert widest(done.out) <= 80


def test_a_model_that_does_not_answer_in_time_is_given_up(
    telemetry: Telemetry, example: Path
) -> None:
    done = telemetry("evaluate", "base", *PARTS, "--timeout", 0.01)
    assert (done.code, done.out) == (3, "")
    assert "--timeout 0.01" in done.err
    assert not list(example.glob("*/*/example_evals"))
