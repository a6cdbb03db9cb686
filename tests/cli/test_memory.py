"""Verbs that read runs take a share of the machine's memory, and say so when it is too little."""

from pathlib import Path

import pytest
from command_line import Telemetry

from telemetry.store.sessions import session


@pytest.mark.parametrize("verb", ["show", "diagnose"])
def test_too_little_memory_is_said(
    verb: str, telemetry: Telemetry, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert example.is_dir()
    monkeypatch.setattr(session, "shared_memory_bytes", lambda: 300_000)

    done = telemetry(verb, "base")

    assert done.code == 2
    assert done.out == ""
    assert "more than 0.286 MiB of memory" in done.err
    assert "name fewer runs" in done.err
