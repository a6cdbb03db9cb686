"""Functions that follow each other between a layer and the loss, with nothing but shape between.

Softmax after softmax, exp after ReLU, the logarithm of what a linear layer returns: what such a
chain can return is known without any number.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from telemetry.capture.losses.heads import HEAD_OPERATIONS, head_chain
from telemetry.capture.losses.pairs import CLIPPING, EXPANDING, RESHAPING, adds_little
from telemetry.capture.losses.slicing import Link, Slice
from telemetry.capture.losses.tape import Key

MAX_CHAINS = 8
STEPS = {**HEAD_OPERATIONS, "exp": "exp", "logsumexp": "logsumexp"}
# What a loss does to what it is given, by the name of its operation.
CONSUMERS = {
    "_ctc_loss": "ctc_loss",
    "_cudnn_ctc_loss": "ctc_loss",
    "binary_cross_entropy_with_logits": "sigmoid",
}
SHAPING = RESHAPING | CLIPPING | EXPANDING | {"gather", "index", "masked_select"}
PRODUCTS = frozenset({"bmm", "dot", "mm", "mul", "mv"})  # sums of one side, if the other is given
SUMS = PRODUCTS | {"add", "cat", "div", "mean", "neg", "rsub", "stack", "sub", "sum"}
SHIFTS = frozenset({"add", "rsub", "sub"})
SIGNED_ENDS = frozenset({"clamp", "clamp_min", "exp", "log_sigmoid_forward", "relu", "softplus"})
UNBOUNDED = {(), ("linear",), ("tanh",)}  # chains whose result may have either sign


class Chain(NamedTuple):
    """Functions in the order in which they are applied to what a module returned.

    Attributes:
        path: Of the module.
        steps: `linear` for a linear layer, names of heads, then what ends the chain: `ctc_loss`,
            `kl_div` (a divergence that takes logarithms), `ratio` (a sum that is divided by), or
            `target` (raw scores that weigh the logarithms of other shares).
    """

    path: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """What was found in one loss.

    Attributes:
        chains: Of at least two functions, in order.
        signs: Places of the operations that read targets as signs, as in max(0, 1 - y * f).
    """

    chains: tuple[Chain, ...]
    signs: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How a tensor was made from one output.

    `is_sum`: it is a weighted sum of what the chain returned; `label`: place of the operation
    that multiplied that with a target, number by number; `is_turned`: its sign was turned, or a
    number was added.
    """

    chain: Chain
    is_sum: bool = False
    label: int | None = None
    is_turned: bool = False


def chains_of(found: Slice) -> Chains:
    """All chains of a loss, the first eight of them."""
    ways = {
        key: _Way(chain=Chain(output.path, head_chain(output.tensor)))
        for key, output in found.outputs.items()
    }
    told = dict.fromkeys(way.chain for way in ways.values())
    signs: set[int] = set()
    for place, link in enumerate(found.links):
        told.update(dict.fromkeys(_ended(link, ways, found)))
        read = _read(link, ways)
        signs.update(w.label for w in read if w.label is not None and _is_sign(link, w))
        way = _after(link, ways, found, place)
        for key in link.result_keys:
            ways.pop(key, None)  # of what an operation in place has written over
            if way is not None:
                ways[key] = way
                told[way.chain] = None
    chains = [chain for chain in told if len(chain.steps) > 1]
    whole = [each for each in chains if not any(_begins(each, other) for other in chains)]
    return Chains(chains=tuple(whole[:MAX_CHAINS]), signs=frozenset(signs))


def _begins(chain: Chain, other: Chain) -> bool:
    n = len(chain.steps)
    return chain.path == other.path and len(other.steps) > n and other.steps[:n] == chain.steps


def _read(link: Link, ways: dict[Key, _Way]) -> list[_Way]:
    return [ways[key] for key in link.read_keys if key in ways]


def _after(link: Link, ways: dict[Key, _Way], found: Slice, place: int) -> _Way | None:
    """What is known of the results of an operation; None where it is of several ways, or none."""
    read = _read(link, ways)
    n_dependent = sum(key not in found.sources for key in link.read_keys)
    if not read or len(read) < n_dependent or len({way.chain for way in read}) > 1:
        return None
    first = read[0]
    if link.name in SHAPING or (adds_little(link) and not first.is_sum):
        return first
    if link.name in STEPS:
        known = () if first.is_sum else first.chain.steps
        return _Way(chain=Chain(first.chain.path, (*known, STEPS[link.name])))
    if link.name == "div" and len(read) > 1:  # a softmax that is written out
        *before, last = first.chain.steps or ("",)
        is_softmax = last == "exp" and not first.is_sum and read[1].is_sum
        return _Way(chain=Chain(first.chain.path, (*before, "softmax"))) if is_softmax else None
    is_inverse = link.name == "div" and link.read_keys[0] not in ways
    is_square = link.name in PRODUCTS and len(read) > 1
    if link.name not in SUMS or is_inverse or is_square:
        return None
    factor = _factor(link, found)
    is_negative = factor is not None and found.makers.get(factor) == "neg"
    turned = link.name == "neg" or (link.name in SHIFTS and _shifts(link)) or is_negative
    return replace(
        first,
        is_sum=True,
        label=first.label if factor is None else place,
        is_turned=first.is_turned or turned,
    )


def _ended(link: Link, ways: dict[Key, _Way], found: Slice) -> Iterator[Chain]:
    """Chains that end in an operation."""
    read = _read(link, ways)
    if not read:
        return
    chain = read[0].chain
    if link.name in CONSUMERS and not read[0].is_sum:
        yield Chain(chain.path, (*chain.steps, CONSUMERS[link.name]))
    if _is_target(link, read[0], found):
        yield Chain(chain.path, (*chain.steps, "target"))
    if link.name == "div" and len(read) > 1 and read[1].is_sum and chain == read[1].chain:
        yield Chain(chain.path, (*chain.steps, "ratio"))
    # KL(t | p) is t * log t - t * input, whose input is a logarithm.
    if (
        link.name == "sub"
        and read[0].label is not None
        and found.makers.get(link.read_keys[0]) == "xlogy"
    ):
        yield Chain(chain.path, (*chain.steps, "kl_div"))


def _is_target(link: Link, way: _Way, found: Slice) -> bool:
    """Whether raw scores stand where the target belongs, and what was given stands in theirs."""
    factor = _factor(link, found)
    made = None if factor is None else found.makers.get(factor)
    return made == "_log_softmax" and way.chain.steps in UNBOUNDED and not way.is_sum


def _is_sign(link: Link, way: _Way) -> bool:
    """Whether a label decides on which side of a margin a score belongs."""
    if link.name not in SIGNED_ENDS or not way.is_turned or way.chain.steps not in UNBOUNDED:
        return False
    return link.name != "clamp" or 0 in link.record.args[1:2]


def _factor(link: Link, found: Slice) -> Key | None:
    """What is no output and multiplies one, number by number."""
    if link.name != "mul":
        return None
    factors = [key for key in link.read_keys if key in found.sources]
    return next((key for key in factors if found.sources[key].numel() > 1), None)


def _shifts(link: Link) -> bool:
    return any(isinstance(given, int | float) and given for given in link.record.args[1:2])
