"""Changes of words: what a share changes, a larger share changes, too."""

import pytest

from telemetry.explain.perturbation.text_changes import misspelt, recased, with_synonyms

pytestmark = pytest.mark.torch

WORDS = ["A", "good", "Film", "2024", "", "zoo"]
TABLE = {"film": ["movie"], "good": ["very fine"], "absent": ["x"]}


def n_different(before: list[str], after: list[str]) -> int:
    pairs = zip("".join(before), "".join(after), strict=True)
    return sum(one != other for one, other in pairs)


def test_a_share_of_the_letters_changes_its_case() -> None:
    assert recased(WORDS, 0.0, 7) == WORDS
    assert recased(WORDS, 1.0, 7) == ["a", "GOOD", "fILM", "2024", "", "ZOO"]
    assert n_different(WORDS, recased(WORDS, 0.5, 7)) == 6  # of twelve letters


def test_a_larger_share_changes_what_a_smaller_one_does_and_more() -> None:
    few, many = ("".join(recased(WORDS, share, 3)) for share in (0.25, 0.75))
    same = "".join(WORDS)
    assert all(m != s for f, m, s in zip(few, many, same, strict=True) if f != s)


def test_a_letter_whose_other_case_is_two_letters_stays() -> None:
    assert recased(["Straße"], 1.0, 0) == ["sTRAßE"]


def test_a_typo_swaps_two_different_letters_side_by_side() -> None:
    found = misspelt(WORDS, 1.0, 5)
    assert [sorted(word) for word in found] == [sorted(word) for word in WORDS]
    changed = [i for i, (one, other) in enumerate(zip(WORDS, found, strict=True)) if one != other]
    assert changed == [1, 2, 5]  # not the single letter, not the number
    assert all(n_different([WORDS[i]], [found[i]]) == 2 for i in changed)
    assert found[5] == "ozo"
    assert (
        sum(one != other for one, other in zip(WORDS, misspelt(WORDS, 1 / 3, 5), strict=True)) == 1
    )


def test_synonyms_keep_a_capital_and_leave_other_words() -> None:
    assert with_synonyms(TABLE, WORDS, 1.0, 0) == ["A", "very fine", "Movie", "2024", "", "zoo"]
    assert with_synonyms(TABLE, WORDS, 0.5, 0) in (
        ["A", "very fine", "Film", "2024", "", "zoo"],
        ["A", "good", "Movie", "2024", "", "zoo"],
    )


def test_each_of_several_synonyms_is_taken_by_some_seed() -> None:
    table = {"good": ["fine", "nice"]}
    found = {with_synonyms(table, ["good"], 1.0, seed)[0] for seed in range(20)}
    assert found == {"fine", "nice"}
