"""Axes of texts: tokens that are dropped, and words that are changed and read again."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example, ExampleSet, Modality
from telemetry.explain.inputs.stated import stated
from telemetry.explain.inputs.vocabulary import Vocabulary
from telemetry.explain.names import kind_of
from telemetry.explain.perturbation import text_changes as changes
from telemetry.explain.perturbation.axis import Axis, evenly, seed_of, with_value

TOKEN_DROP = "token-drop"  # noqa: S105 - no password
CASE, TYPO, SYNONYM = "case", "typo", "synonym"
UNITS = {
    TOKEN_DROP: "of the tokens",
    CASE: "of the letters",
    TYPO: "of the words",
    SYNONYM: "of the words that have one",
}
TEXT_AXES = tuple(UNITS)
SYNONYMS = "synonyms"  # of the data set
SPECIAL = re.compile(r"<.*>|\[.*\]")  # <unk>, [CLS]: what no writer has written


def text_axis(
    name: str, examples: ExampleSet, steps: int, span: tuple[float, float] | None, seed: int
) -> Axis:
    """The axis of a name of `TEXT_AXES`, or `synonym:FILE.json`; see `axis_of`.

    Raises:
        UsageError: the data set is no text, cannot read words, or has no synonyms; a share
            outside 0 to 1.
    """
    kind, _, file = name.partition(":")
    if examples.modality is not Modality.TEXT:
        raise UsageError(f"--axis {name}: the data set has modality {examples.modality}, not text.")
    if file and kind != SYNONYM:
        raise UsageError(f"--axis {name}: write --axis {kind}.")
    low, high = span or (0.0, 1.0)
    if low < 0 or high > 1:
        raise UsageError(f"--range {low:g}:{high:g}: --axis {name} is a share from 0 to 1.")
    change = _dropper(examples) if kind == TOKEN_DROP else _reader(kind, file, examples)

    def apply(example: Example, share: float) -> tuple[Tensor, float]:
        if share == 0:
            return example.input, 0.0
        return change(example, share, seed_of(example, seed)), 0.0

    return Axis(
        name=name,
        unit=UNITS[kind],
        neutral=0.0,
        values=with_value(evenly(low, high, steps), 0.0),
        apply=apply,
    )


def _dropper(examples: ExampleSet) -> Callable[[Example, float, int], Tensor]:
    """Removes a share of the tokens, in an order of the example's own; one stays."""
    padding = examples.padding

    def drop(example: Example, share: float, seed: int) -> Tensor:
        places = padding.is_text(example.input).nonzero().flatten()
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
        n_dropped = max(0, min(round(share * len(places)), len(places) - 1))
        gone = torch.zeros(len(example.input), dtype=torch.bool)
        gone[places[order[:n_dropped]]] = True
        return padding.without(example.input, gone)

    return drop


def _reader(kind: str, file: str, examples: ExampleSet) -> Callable[[Example, float, int], Tensor]:
    """Takes an example to its words, changes them, and reads them again."""
    vocabulary = Vocabulary(examples, f"--axis {kind}")
    change = changes.recased if kind == CASE else changes.misspelt
    if kind == SYNONYM:
        change = partial(changes.with_synonyms, _synonyms(file, examples))

    def read(example: Example, share: float, seed: int) -> Tensor:
        words = vocabulary.words(example.input)
        written = _written(example.input, words, examples)
        others = change(
            [word if own else "" for word, own in zip(words, written, strict=True)], share, seed
        )
        found = []
        for before, after, own in zip(words, others, written, strict=True):
            said = after if own else before
            found += said.split() if kind == SYNONYM and own and after != before else [said]
        return vocabulary.encoded(found)

    return read


def _written(tokens: Tensor, words: Sequence[str], examples: ExampleSet) -> list[bool]:
    """Which words somebody wrote: padding, masks and marks stay as they are."""
    is_text = examples.padding.is_text(tokens).tolist()
    return [
        own and token != examples.mask_id and SPECIAL.fullmatch(word) is None
        for own, token, word in zip(is_text, tokens.tolist(), words, strict=True)
    ]


def _synonyms(file: str, examples: ExampleSet) -> changes.Synonyms:
    """The table of a file, else of the data set.

    Raises:
        UsageError: there is none, or it does not take words to words.
    """
    place = file or f"data set {examples.name}: synonyms"
    try:
        found = (
            json.loads(Path(file).read_text("utf-8")) if file else stated(examples.source, SYNONYMS)
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"--axis {SYNONYM}:{file}: cannot be read as JSON ({error}).") from error
    if found is None:
        raise UsageError(
            f"--axis {SYNONYM}: no synonyms are known; add synonyms = {{'film': ['movie']}} to "
            f"the data set, or use --axis {SYNONYM}:FILE.json."
        )
    if not isinstance(found, Mapping):
        raise UsageError(f"{place} is {kind_of(found)}, expected {{word: [words]}}.")
    return {
        str(word): [others] if isinstance(others, str) else [str(other) for other in others]
        for word, others in found.items()
    }
