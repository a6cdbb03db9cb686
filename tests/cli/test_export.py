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
