"""Which metrics are compared, which of them decides, and which way is better."""

import re
from collections.abc import Iterable, Mapping

from telemetry.compare.terms import Direction, DirectionSource
from telemetry.metric_direction import higher_is_better, tells_direction

LOSS = "loss"
STEP_COLUMNS = (LOSS, "step_s")  # metrics that are columns of the view `steps`
EVAL_PREFIXES = ("val", "valid", "validation", "eval", "dev", "test")  # the first found decides
LOSS_WORDS = frozenset({"loss", "nll", "perplexity", "ppl", "ce", "bpc", "bpb", "xent"})
NO_COUNTS = frozenset({"per", "second", "sec", "s", "rate", "throughput", "loss", "accuracy"})
HIT_WORDS = frozenset({"acc", "accuracy", "top1", "acc1", "f1", "auc", "auroc"})


def direction_of(name: str, stated: Mapping[str, Direction] | None = None) -> Direction:
    """Which way of a metric is better: as stated by the user, else by its name."""
    if stated and name in stated:
        return stated[name]
    return Direction.HIGHER if higher_is_better(name) else Direction.LOWER


def direction_source(name: str, stated: Mapping[str, Direction] | None = None) -> DirectionSource:
    """Why `direction_of` says what it says; without a known word lower is assumed."""
    if stated and name in stated:
        return DirectionSource.GIVEN
    return DirectionSource.NAME if tells_direction(name) else DirectionSource.ASSUMED


def counts_tokens(name: str) -> bool:
    """Whether a metric is a number of tokens, as `tokens`, `n_tokens`, `num_input_tokens_seen`."""
    words = re.findall(r"[a-z]+", name.lower())
    return "tokens" in words and NO_COUNTS.isdisjoint(words)


def by_importance(names: Iterable[str]) -> list[str]:
    """Names in the order in which they may decide a comparison.

    A validation loss comes before a validation accuracy, any other evaluated metric and the
    training loss; among equals validation before test, then the shorter name.
    """
    return sorted(set(names), key=_order)


def _order(name: str) -> tuple[int, int, int, str]:
    words = re.findall(r"[a-z]+\d*", name.lower())
    prefix = next((i for i, p in enumerate(EVAL_PREFIXES) if words[:1] == [p]), len(EVAL_PREFIXES))
    if name in STEP_COLUMNS:
        return 3, STEP_COLUMNS.index(name), len(name), name
    kind = 0 if LOSS_WORDS & set(words) else 1 if HIT_WORDS & set(words) else 2
    return kind, prefix, len(name), name
