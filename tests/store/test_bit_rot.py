"""A bit that flips on the disk is never shown as a number."""

import json
from pathlib import Path

import pytest
from many_shards import run_of
from synthetic import RunBuilder
from two_shards import read, record_files, shards

from telemetry.store.files import shard_file
from telemetry.store.runs.catalog import load_run
from telemetry.store.upkeep.compact import compact_run

EVERYTHING = "SELECT step, loss, lr, elapsed_s, samples FROM steps ORDER BY step"
STRIDE = 2003  # bits between the flipped ones: a prime, so that every place of a byte is met


@pytest.fixture
def path(tmp_path: Path) -> Path:
    losses = [1.0 / (step + 1) for step in range(200)]
    return RunBuilder(store=tmp_path).losses(losses).write()


def flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def test_a_flipped_bit_changes_no_row_without_a_word(path: Path, tmp_path: Path) -> None:
    (shard,) = shards(path)
    sound = shard.read_bytes()
    expected = read(tmp_path, EVERYTHING)[0].records()
    n_named = 0
    for bit in range(0, 8 * len(sound), STRIDE):
        shard.write_bytes(flip(sound, bit))
        rows, warnings = read(tmp_path, EVERYTHING)
        assert rows.records() == expected or warnings
        n_named += bool(warnings)
    assert n_named > 3


def test_a_shard_with_its_recorded_hash_needs_no_look_at_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_of(tmp_path, 3)
    compact_run(load_run(path).ref, grace_s=0.0)
    shard_file._sound.clear()
    monkeypatch.setattr(shard_file, "page_fault", lambda _file: "looked at")
    _, warnings = read(tmp_path)
    assert warnings == ()


def test_a_wrong_hash_alone_condemns_no_shard(path: Path, tmp_path: Path) -> None:
    record_files(path)
    document = json.loads((path / "run.json").read_text())
    document["files"]["steps"][0] |= {"blake2b": "0" * 32, "rows": 200}
    (path / "run.json").write_text(json.dumps(document))
    rows, warnings = read(tmp_path)
    assert len(rows) == 200
    assert warnings == ()
