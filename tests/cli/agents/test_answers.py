"""What an agent is told of how a command line ended."""

import json

import pytest

from telemetry.cli.agents.answers import MOST_BYTES, Refused, answer


@pytest.mark.parametrize("code", [0, 1, 3])
def test_findings_and_doubt_are_results(code: int) -> None:
    found = answer(code, b'{"schema_version": 1}', b"telemetry: warning: a shard is gone\n")
    assert found.document == {"schema_version": 1}
    assert found.warnings == ("a shard is gone",)


def test_a_document_that_an_error_cut_off_is_none() -> None:
    with pytest.raises(Refused, match=r"^the shards changed\.$"):
        answer(2, b'{"rows": []}', b"telemetry: error: the shards changed.\n")


def test_doubt_without_a_document_is_an_error_with_its_hint() -> None:
    err = b"telemetry: warning: x\ntelemetry: error: nothing to draw.\n  try: telemetry show\n"
    with pytest.raises(Refused, match=r"^nothing to draw\.\n  try: telemetry show$"):
        answer(3, b"", err)


def test_a_command_that_died_says_how() -> None:
    with pytest.raises(Refused, match="was killed by SIGSEGV; its last output: none"):
        answer(-11, b"", b"")


def test_too_much_is_refused() -> None:
    out = json.dumps({"text": "x" * MOST_BYTES}).encode()
    with pytest.raises(Refused, match="more than 4 MB"):
        answer(0, out, b"")
