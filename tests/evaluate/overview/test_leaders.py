"""What leads wrong answers: of a text the phrase, wherever it stands."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from telemetry.evaluate.overview.leaders import leaders_of
from telemetry.evaluate.stored.explanations import StoredExplanation
from telemetry.requests.explain.input import KIND

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run

PHRASE = (("sent", 4.0), ("from", 3.0), ("station", 1.0))


def asked(identity: str, names: Sequence[str], values: Sequence[float]) -> StoredExplanation:
    row = {"segment_names": json.dumps(names), "segment_values": json.dumps(values)}
    return StoredExplanation(
        id=identity,
        run=cast("Run", Path(identity)),  # nothing of it is read
        kind=KIND,
        about="",
        answer="",
        ok=None,
        rows=(row,),
    )


def text(identity: str, start: int, words: Sequence[tuple[str, float]]) -> StoredExplanation:
    before = [(f"{place}:the", 0.01) for place in range(start)]
    own = [(f"{start + place}:{word}", value) for place, (word, value) in enumerate(words)]
    names, values = zip(*before, *own, strict=True)
    return asked(identity, names, values)


def test_a_phrase_leads_where_most_answers_have_its_words_beside_the_strongest() -> None:
    texts = [text("a", 1, PHRASE), text("b", 5, PHRASE), text("c", 2, (("sent", 4.0), ("me", 3.0)))]
    (first,) = leaders_of(texts)
    assert (first.part, first.n, first.ids) == ("sent from station", 3, ("a", "b", "c"))


def test_words_that_stand_beside_the_strongest_in_all_answers_belong_to_it() -> None:
    strong = [(4.0, 0.0), (0.0, 4.0), (4.0, 0.0), (4.0, 0.0)]
    texts = [
        text(str(n), n, (("terms", a), ("apply", b), (f"end{n}", 0.1)))
        for n, (a, b) in enumerate(strong)
    ]
    (first, *others) = leaders_of(texts)
    assert (first.part, first.n, others) == ("terms apply", 4, [])
    varied = [text(str(n), 1, (("terms", 4.0), (f"w{n}", 0.1))) for n in range(4)]
    assert leaders_of(varied)[0].part == "the terms"  # nothing tells them apart
    assert leaders_of(varied[:2])[0].part == "terms"


def test_a_word_that_carries_nothing_is_no_part_of_a_phrase() -> None:
    (first,) = leaders_of([text("a", 3, (("awful", 4.0), ("day", 0.1)))])
    assert first.part == "awful"


def test_columns_and_cells_are_as_they_are_named() -> None:
    rows = [asked(str(n), ("code", "age"), (2.0, 1.9)) for n in range(2)]
    (first,) = leaders_of(rows)
    assert (first.part, first.n) == ("code", 2)
