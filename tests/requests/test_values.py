import json
from dataclasses import dataclass

import pytest

from telemetry.errors import UsageError
from telemetry.requests.values import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    name: str
    size: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Request):
    part: Part
    examples: tuple[str, ...] = ()
    count: int = 1
    check: bool = True


ASKED = Question(part=Part(name="a", size=1.5), examples=("7", "8"), count=3, check=False)


def test_a_request_comes_back_as_it_was_sent() -> None:
    assert Question.of(json.loads(json.dumps(ASKED.to_json()))) == ASKED
    plain = Question(part=Part(name="a"))
    assert Question.of(json.loads(json.dumps(plain.to_json()))) == plain


def test_a_whole_number_is_a_size() -> None:
    document = json.loads(json.dumps(ASKED.to_json())) | {"part": {"name": "a", "size": 2}}
    assert Question.of(document).part.size == 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"count": "3"},
        {"count": True},
        {"check": 1},
        {"part": None},
        {"part": {"name": "a"}},
        {"examples": "78"},
        {"examples": [7]},
        {"more": 1},
    ],
)
def test_what_is_no_request_is_refused(change: dict[str, object]) -> None:
    document = json.loads(json.dumps(ASKED.to_json())) | change
    with pytest.raises(UsageError, match="not a Question"):
        Question.of(document)
