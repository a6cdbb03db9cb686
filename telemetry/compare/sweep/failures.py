"""Why runs of a sweep failed: the simplest rule over parameters that separates those that did.

A rule has at most two conditions: a decision tree of depth two with one branch that fails.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from telemetry.compare.sweep.parameters import Varied
from telemetry.compare.sweep.result import Condition, Failure, Relation

Mask = npt.NDArray[np.bool_]

SEED = 20260102
SHUFFLES = 400
CHANCE_LIMIT = 0.2  # share of shuffled sweeps with a rule as good from which none is stated
MOST_CUTS = 10  # thresholds tried per numeric parameter
FEWEST_FAILURES = 2  # one failed run is an anecdote
SECOND_CONDITION_GAIN = 2  # errors that a second condition must save to be worth reading


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """A condition, or two joined by "and"; `inside` says which runs meet it, shape (n,)."""

    conditions: tuple[Condition, ...]
    inside: Mask


def attribute_failures(
    parameters: Sequence[Varied], failed: Mapping[str, Mask]
) -> tuple[Failure, ...]:
    """One entry per detector, the commonest first.

    A rule is a threshold or a category, or two of them joined by "and". It is stated only if runs
    that were shuffled are seldom separated as well; else the rule is the empty text.

    Args:
        parameters: Varied parameters over n runs.
        failed: For each detector, which runs have its finding as a root, shape (n,).
    """
    singles = [rule for parameter in parameters for rule in conditions(parameter)]
    pairs = list(_pairs(singles))
    entries = [
        _attributed(detector, mask, singles, pairs)
        for detector, mask in sorted(failed.items(), key=lambda item: (-item[1].sum(), item[0]))
    ]
    return tuple(entries)


def conditions(parameter: Varied) -> Iterator[Rule]:
    """Thresholds at observed values, and one condition per category; "not set" is one."""
    name, numbers = parameter.name, parameter.numbers
    for i in range(parameter.n_ranges, len(parameter.labels)):
        condition = Condition(parameter=name, relation=Relation.EQUAL, value=parameter.labels[i])
        yield Rule(conditions=(condition,), inside=parameter.bins == i)
    if numbers is None:
        return
    values = np.unique(numbers[np.isfinite(numbers)])
    if values.size == 1:  # one number, or none at all
        return
    picks = np.unique(np.linspace(0, values.size - 2, MOST_CUTS).round().astype(int))
    for low, high in zip(values[picks], values[picks + 1], strict=True):
        for relation, limit, inside in (
            (Relation.AT_LEAST, high, numbers >= high),
            (Relation.AT_MOST, low, numbers <= low),
        ):
            condition = Condition(parameter=name, relation=relation, value=float(limit))
            yield Rule(conditions=(condition,), inside=inside)


def _pairs(singles: Sequence[Rule]) -> Iterator[Rule]:
    """Conjunctions that say more than either condition."""
    for left, right in combinations(singles, 2):
        inside = left.inside & right.inside
        size = np.count_nonzero(inside)
        if 0 < size < min(np.count_nonzero(left.inside), np.count_nonzero(right.inside)):
            yield Rule(conditions=(*left.conditions, *right.conditions), inside=inside)


def _attributed(
    detector: str, mask: Mask, singles: Sequence[Rule], pairs: Sequence[Rule]
) -> Failure:
    rule, chance = _best_rule(mask, singles, pairs)
    inside = rule.inside if rule else np.ones(mask.size, dtype=np.bool_)
    return Failure(
        detector=detector,
        conditions=rule.conditions if rule else (),
        matching_runs=int(np.count_nonzero(inside & mask)),
        rule_runs=int(np.count_nonzero(inside)),
        failed_runs=int(np.count_nonzero(mask)),
        chance=chance,
    )


def _best_rule(
    mask: Mask, singles: Sequence[Rule], pairs: Sequence[Rule]
) -> tuple[Rule | None, float]:
    """The rule with the fewest errors, and how often chance gives one as good.

    Two conditions only where they save two errors; no rule where chance often does as well.
    """
    if not singles or mask.all() or np.count_nonzero(mask) < FEWEST_FAILURES:
        return None, 1.0
    matrix = _matrix(singles)
    single_errors = _errors(matrix, mask[None, :])[:, 0]
    chosen, errors = singles[int(single_errors.argmin())], float(single_errors.min())
    if pairs:
        both = _matrix(pairs)
        pair_errors = _errors(both, mask[None, :])[:, 0]
        if pair_errors.min() <= errors - SECOND_CONDITION_GAIN:
            chosen, errors = pairs[int(pair_errors.argmin())], float(pair_errors.min())
            matrix = np.vstack([matrix, both])
    generator = np.random.default_rng(SEED)
    shuffled = generator.permuted(np.tile(mask, (SHUFFLES, 1)), axis=1)
    chance = float(np.mean(_errors(matrix, shuffled).min(axis=0) <= errors))
    return chosen if chance <= CHANCE_LIMIT else None, chance


def _matrix(rules: Sequence[Rule]) -> npt.NDArray[np.float32]:
    return np.array([rule.inside for rule in rules], dtype=np.float32)


def _errors(rules: npt.NDArray[np.float32], labels: Mask) -> npt.NDArray[np.float32]:
    """Runs on the wrong side of each rule under each labelling, shape (n_rules, n_labellings)."""
    wanted = labels.astype(np.float32).T
    hits = rules @ wanted
    return np.asarray(
        rules.sum(axis=1, keepdims=True) + wanted.sum(axis=0) - 2 * hits, dtype=np.float32
    )
