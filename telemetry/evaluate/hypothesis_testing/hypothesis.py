"""A statement about a model that a data set can refute, as a user writes it.

```toml
[[hypothesis]]
name = "night-images"
statement = "Signs are recognised at night"
kind = "subset"                          # min | invariance | direction | subset
base = "shop.data:valid"
where = "m_time = 'night'"
expect = { metric = "accuracy", op = ">=", value = 0.90 }
```
"""

import hashlib
import json
import math
from dataclasses import dataclass
from enum import StrEnum

from telemetry.json_values import Json

ACCURACY, ERROR, LOSS, MAE = "accuracy", "error", "loss", "mae"
METRICS = (ACCURACY, ERROR, LOSS, MAE)  # MAE: mean absolute error of numbers
BASE = "base"
ID_CHARACTERS = 16


class Kind(StrEnum):
    """How a hypothesis is tested.

    Source: Ribeiro et al., CheckList, arXiv:2005.04118.
    """

    MIN = "min"
    INVARIANCE = "invariance"
    DIRECTION = "direction"
    SUBSET = "subset"


OF_CHANGES = frozenset({Kind.INVARIANCE, Kind.DIRECTION})  # what is right compares two answers


class Towards(StrEnum):
    """Where a change must not lead away from, by a hypothesis of kind direction."""

    TRUTH = "truth"  # the loss does not grow
    UP = "up"  # the number does not fall
    DOWN = "down"  # it does not rise


class Op(StrEnum):
    """How a value is held against the expectation."""

    AT_LEAST = ">="
    AT_MOST = "<="
    NO_WORSE_THAN = "no_worse_than"
    UNCHANGED = "unchanged"


RELATIVE = frozenset({Op.NO_WORSE_THAN, Op.UNCHANGED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a metric must be; `value` of a relative one is the change that is allowed."""

    metric: str
    op: Op
    value: float

    @property
    def is_relative(self) -> bool:
        """Whether it compares with the data set that the hypothesis starts from."""
        return self.op in RELATIVE

    def holds(self, value: float, base: float = math.nan) -> bool:
        """Whether a value meets it.

        Args:
            value: Of the metric under the hypothesis.
            base: Of the metric on what it starts from, for a relative one.
        """
        if self.op is Op.AT_LEAST:
            return value >= self.value
        if self.op is Op.AT_MOST:
            return value <= self.value
        change = value - base
        if self.op is Op.UNCHANGED:
            return abs(change) <= abs(self.value)
        better = change if self.metric == ACCURACY else -change
        return better >= -abs(self.value)

    def __str__(self) -> str:
        """As the screens show it: `accuracy >= 0.9`."""
        op = self.op.replace("_", " ")
        return f"{self.metric} {op} {self.value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One entry of the file.

    Attributes:
        name: Unique in its file.
        statement: What is expected, in words.
        kind: How it is tested.
        base: Entry point of the data set it starts from; for `min` its own data set.
        expect: What must hold.
        transform: Entry point or built-in that changes an example.
        where: Condition over `example_evals` that chooses examples.
        towards: Of a direction: where the answer must not move away from.
        tolerance: Numbers no farther apart count as equal: an answer and its target, or, of an
            invariance, the answers before and after.
        min_size: Fewest examples on which it is judged.
        owner: Who answers for it.
    """

    name: str
    statement: str
    kind: Kind
    base: str
    expect: Expectation
    transform: str | None = None
    where: str | None = None
    towards: Towards = Towards.TRUTH
    tolerance: float | None = None
    min_size: int = 1
    owner: str | None = None

    @property
    def definition(self) -> str:
        """Its entry of the file, in one spelling."""
        dataset = "dataset" if self.kind is Kind.MIN else "base"
        expect = [
            f"metric = {_toml(self.expect.metric)}",
            f"op = {_toml(self.expect.op)}",
            f"value = {self.expect.value!r}",
            *([f"versus = {_toml(BASE)}"] if self.expect.is_relative else []),
        ]
        lines = [
            "[[hypothesis]]",
            f"name = {_toml(self.name)}",
            f"statement = {_toml(self.statement)}",
            f"kind = {_toml(self.kind)}",
            f"{dataset} = {_toml(self.base)}",
            *([f"transform = {_toml(self.transform)}"] if self.transform else []),
            *([f"where = {_toml(self.where)}"] if self.where else []),
            *([f"towards = {_toml(self.towards)}"] if self.towards is not Towards.TRUTH else []),
            *([f"tolerance = {self.tolerance!r}"] if self.tolerance is not None else []),
            f"expect = {{ {', '.join(expect)} }}",
            *([f"min_size = {self.min_size}"] if self.min_size > 1 else []),
            *([f"owner = {_toml(self.owner)}"] if self.owner else []),
        ]
        return "\n".join(lines) + "\n"

    @property
    def unchanged_value(self) -> float | None:
        """The metric on what it starts from, if that follows from the kind; else None.

        An unchanged example gives its own answer, so that all of them are right, whatever the
        labels say: the accuracy of the data set is another quantity.
        """
        if self.kind not in OF_CHANGES:
            return None
        return {ACCURACY: 1.0, ERROR: 0.0}.get(self.expect.metric)

    @property
    def rule(self) -> str:
        """What decides whether an answer meets it: answers under another rule are no pairs."""
        return f"{self.kind} {self.base} {self.transform} {self.towards} {self.tolerance}"

    @property
    def digest(self) -> str:
        """Equal for equal definitions."""
        return hashlib.sha256(self.definition.encode()).hexdigest()[:ID_CHARACTERS]

    def to_row(self) -> dict[str, Json]:
        """A row of table `hypotheses`, but for the time."""
        return {
            "name": self.name,
            "statement": self.statement,
            "kind": self.kind,
            "base_dataset": self.base,
            "definition": self.definition,
            "digest": self.digest,
            "expected_metric": self.expect.metric,
            "expected_op": self.expect.op,
            "expected_value": self.expect.value,
            "min_size": self.min_size,
            "owner": self.owner,
        }


def _toml(text: str) -> str:
    """A TOML string; JSON's escapes are TOML's, which also wants DEL escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
