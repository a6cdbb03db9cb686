"""Changes of words that a writer could have made: pure functions of a share of what there is.

The order of what is changed is drawn once: a larger share changes what a smaller one does, and
more. Source: Ribeiro et al. 2020, Beyond accuracy: behavioral testing of NLP models with CheckList,
arXiv:2005.04118 (neighbouring letters that change places).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch

Synonyms = Mapping[str, Sequence[str]]


def recased(words: Sequence[str], share: float, seed: int) -> list[str]:
    """A share of all letters in the other case."""
    letters = [
        (place, at)
        for place, word in enumerate(words)
        for at, letter in enumerate(word)
        if letter.swapcase() != letter and len(letter.swapcase()) == 1
    ]
    chosen = {letters[i] for i in _chosen(len(letters), share, seed)}
    return [
        "".join(
            letter.swapcase() if (place, at) in chosen else letter for at, letter in enumerate(word)
        )
        for place, word in enumerate(words)
    ]


def misspelt(words: Sequence[str], share: float, seed: int) -> list[str]:
    """In a share of the words that have two different letters side by side, these swapped."""
    pairs = [
        [
            at
            for at, (one, other) in enumerate(pairwise(word))
            if one != other and one.isalpha() and other.isalpha()
        ]
        for word in words
    ]
    places = [place for place, found in enumerate(pairs) if found]
    draws = torch.rand(len(words), generator=torch.Generator().manual_seed(seed + 1)).tolist()
    changed = list(words)
    for place in (places[i] for i in _chosen(len(places), share, seed)):
        at = pairs[place][int(draws[place] * len(pairs[place]))]
        word = words[place]
        changed[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return changed


def with_synonyms(table: Synonyms, words: Sequence[str], share: float, seed: int) -> list[str]:
    """In a share of the words that the table knows, another word, or several with spaces."""
    known = [table.get(word) or table.get(word.lower()) or () for word in words]
    places = [place for place, others in enumerate(known) if others]
    draws = torch.rand(len(words), generator=torch.Generator().manual_seed(seed + 1)).tolist()
    changed = list(words)
    for place in (places[i] for i in _chosen(len(places), share, seed)):
        other = known[place][int(draws[place] * len(known[place]))]
        is_capital = words[place][:1].isupper() and words[place] not in table
        changed[place] = other[:1].upper() + other[1:] if is_capital else other
    return changed


def _chosen(n: int, share: float, seed: int) -> list[int]:
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return [int(place) for place in order[: round(share * n)]]
