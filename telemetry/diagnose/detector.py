"""What a detector is, and where detectors are found.

A detector is one module below `rules/`: docstring, constants, SQL, a pure `judge`, DETECTOR. Its
id is the file's name; no list of names exists anywhere.
"""

import difflib
import importlib
import math
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.tags import Tag
from telemetry.errors import UsageError
from telemetry.store.sessions.rows import Rows, SqlValue

if TYPE_CHECKING:
    from telemetry.diagnose.candidate import Candidate, Description


class Mechanism(StrEnum):
    """How a finding causes others. A rule tells by it which causes its evidence excludes."""

    GROWTH = "growth"  # the loss or a gradient grows before anything breaks
    SMALL_GRADIENTS = "small gradients"  # they make a step small, and nothing else does
    LONG_STEPS = "long steps"  # many times too long for what the loss looks like
    OTHER_SIGN = "other sign"  # the loss has the opposite sign of the one that was meant


class Tier(StrEnum):
    """How sure a rule can be."""

    INVARIANT = "invariant"  # cannot hold in a correct run
    STATISTICAL = "statistical"  # a margin between healthy and faulty runs, gated
    INFO = "info"  # a description


Limits: TypeAlias = "Mapping[str, float]"
# Of several candidates the worst is the finding, of equals the first.
Verdict: TypeAlias = "Candidate | Sequence[Candidate] | Description | NotChecked | None"
Judge: TypeAlias = "Callable[[Rows, RunContext, Limits], Verdict]"

RULES = "telemetry.diagnose.rules"
_PARAMETER = re.compile(r"\$(\w+)")
_SHARE = re.compile(r"_share$")
_COUNT = re.compile(r"^min_|_(?:steps?|samples|units|positions|classes|evaluations)$")


@dataclass(frozen=True, slots=True)
class Range:
    """Values that a parameter may have: above 0, and at most or at least a bound."""

    words: str
    least: float = 0.0
    most: float = math.inf

    def holds(self, value: float) -> bool:
        """Whether a value makes sense; NaN and infinities never do."""
        return math.isfinite(value) and value > 0 and self.least <= value <= self.most


SHARE = Range("a share above 0 and up to 1", most=1.0)
COUNT = Range("a number of at least 1", least=1.0)
POSITIVE = Range("a finite number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How `diagnose --details` reads the evidence, of which it draws the first number.

    Attributes:
        unit: Of that number, if thresholds are in it: the limit of a finding in this unit is drawn.
        low_is_worse: Small values are the bad ones.
        normal: What a healthy run shows, in words.
    """

    unit: str = ""
    low_is_worse: bool = False
    normal: str = ""


AS_IT_IS = Shown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One rule.

    Attributes:
        id: Name of its module, and of its finding.
        title: What it looks for, in a few words.
        tier: How sure the rule can be.
        severity: Usual severity of a finding.
        needs: Columns without which it is not checked.
        sql: One SELECT over the views; `$run` and the parameters that it names are bound.
        parameters: Limits by name; a configuration may override them.
        advice: What to do in general; a finding's advice is more concrete.
        source: Where the rule comes from.
        judge: Rows of `sql`, the run and the limits to a verdict; None is passed.
        causes: Rules whose findings may follow from this one's.
        caused_by: Rules from whose findings this one's may follow. Each edge is declared once, by
            the cause or by the effect: a new rule names both its causes and its effects.
        acts_by: How its finding causes what follows from it.
        is_symptom: Its finding is a root only where no other finding explains it.
        explains_symptoms: Its finding explains a symptom, whatever the edges and the steps say.
        silenced_by: Tags of a run that suppress its findings.
        softened_by: Tags of a run by which `judge` makes a finding information.
        aliases: Former ids.
        shares: Parameters in (0, 1] whose names do not end in `_share`.
        shown: What an explanation draws of a finding's evidence.
    """

    id: str
    title: str
    tier: Tier
    severity: Severity
    needs: tuple[Need, ...]
    sql: str
    parameters: Mapping[str, float]
    advice: str
    source: str
    judge: Judge
    causes: tuple[str, ...] = field(default=())
    caused_by: tuple[str, ...] = field(default=())
    acts_by: tuple[Mechanism, ...] = field(default=())
    is_symptom: bool = False
    explains_symptoms: bool = True
    silenced_by: tuple[Tag, ...] = field(default=())
    softened_by: tuple[Tag, ...] = field(default=())
    aliases: tuple[str, ...] = field(default=())
    shares: tuple[str, ...] = field(default=())
    shown: Shown = AS_IT_IS

    @property
    def doc(self) -> str:
        """The documentation page: the docstring of its module."""
        return importlib.import_module(_modules()[self.id]).__doc__ or ""

    def limits(self, overrides: Limits) -> dict[str, float]:
        """The parameters with overrides.

        Raises:
            UsageError: an override names no parameter, or its value is out of range.
        """
        for name, value in overrides.items():
            if name not in self.parameters:
                raise UsageError(
                    f"detector {self.id} has no parameter {name!r}; it has "
                    f"{', '.join(self.parameters)}."
                )
            if not self.allowed(name).holds(value):
                raise UsageError(
                    f"detector {self.id}: {name} = {value}: write {self.allowed(name).words}."
                )
        return {**self.parameters, **{name: float(value) for name, value in overrides.items()}}

    def allowed(self, name: str) -> Range:
        """The range of a parameter, read from its name unless it is listed in `shares`."""
        if name in self.shares or _SHARE.search(name):
            return SHARE
        return COUNT if _COUNT.search(name) else POSITIVE

    def bound(self, run: str, limits: Limits) -> dict[str, SqlValue]:
        """The values that the statement names."""
        known: dict[str, SqlValue] = {"run": run, **limits}
        return {name: known[name] for name in dict.fromkeys(_PARAMETER.findall(self.sql))}


@cache
def all_detectors() -> tuple[Detector, ...]:
    """Every detector found below `rules/`, sorted by id."""
    modules = _modules()
    return tuple(importlib.import_module(modules[name]).DETECTOR for name in sorted(modules))


@cache
def _modules() -> dict[str, str]:
    """Full name of each rule's module by its id; the folders between group rules for readers."""
    folders = importlib.import_module(RULES).__path__
    found = pkgutil.walk_packages(folders, f"{RULES}.")
    return {entry.name.rpartition(".")[2]: entry.name for entry in found if not entry.ispkg}


def known_detector(name: str) -> Detector | None:
    """The detector of that id or former id; None if there is none."""
    own = (d for d in all_detectors() if name == d.id or name in d.aliases)
    return next(own, None)


def find_detector(name: str) -> Detector:
    """The detector of that id or former id.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    detector = known_detector(name)
    if detector is not None:
        return detector
    known = [detector.id for detector in all_detectors()]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "`telemetry detectors` lists them."
    raise UsageError(f"detector {name!r} is unknown; {hint}")
