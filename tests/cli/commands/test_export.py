from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import Telemetry, validated

pytestmark = pytest.mark.usefixtures("example")


def test_the_tables_of_a_run_are_written_and_named(telemetry: Telemetry, tmp_path: Path) -> None:
    target = tmp_path / "out"
    done = telemetry("export", "base", target)
    assert done.code == 0
    named = {Path(line.split("\t")[0]) for line in done.out.splitlines()}
    assert named == set(target.iterdir())
    assert pq.read_table(target / "steps.parquet").num_rows == 200


def test_other_formats_and_json(telemetry: Telemetry, tmp_path: Path) -> None:
    done = telemetry("export", "base", tmp_path / "csv", "--format", "csv", "--json")
    document = validated("export", done.out)
    assert document["run"] == "20260102-030405-aaaaaa"
    assert str(tmp_path / "csv" / "steps.csv") in document["files"]
    header = (tmp_path / "csv" / "steps.csv").read_text("utf-8").splitlines()[0]
    assert "loss" in header.split(",")


def test_nothing_is_overwritten(telemetry: Telemetry, tmp_path: Path) -> None:
    assert telemetry("export", "base", tmp_path / "out").code == 0
    again = telemetry("export", "base", tmp_path / "out")
    assert again.code == 2
    assert "is not overwritten" in again.err


def test_a_baseline_is_written_of_a_group(telemetry: Telemetry, tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    done = telemetry("export", "demo/base", "tag=pr-12", "--baseline", file)
    assert done.code == 0
    assert done.out.startswith(f"{file}\t")
    document = validated("baseline", file.read_text("utf-8"))
    assert [entry["run"]["name"] for entry in document["runs"]] == ["base", "wide"]
    again = telemetry("export", "base", "--baseline", file, "--json")
    assert validated("export", again.out)["runs"] == ["20260102-030405-aaaaaa"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["base"], "needs a run and a folder"),
        (["base", "wide", "out"], "needs a run and a folder"),
        (["base", "out", "--metric", "loss"], "--metric is only for --baseline"),
        (["base", "--baseline", "b.json", "--format", "csv"], "a baseline is always JSON"),
        (["base", "--baseline", "b.json", "--metric", "absent"], "'absent' is not recorded"),
        (["--baseline", "b.json"], "no run was given"),
        (["absent", "--baseline", "b.json"], "absent"),
    ],
)
def test_what_cannot_be_exported_is_named(
    arguments: list[str], words: str, telemetry: Telemetry
) -> None:
    done = telemetry("export", *arguments)
    assert done.code == 2
    assert words in done.err
    assert not Path("b.json").exists()
