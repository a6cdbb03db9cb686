"""What a recipe is, and the registry that `run.py` reads."""

from collections.abc import Callable
from dataclasses import dataclass

from material import Bench

Build = Callable[[Bench], None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One fault or one healthy control of the benchmark.

    Attributes:
        id: `F01`, `H01`.
        build: Trains once, for a seed.
        roots: Accepted root causes; empty for a control.
        layers: Accepted layers by prefix; empty where none is defined.
        by: Latest step of the first finding.
        measure: What of the result the claim is held against; None is the first of claims.py.
    """

    id: str
    build: Build
    roots: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    by: int | None = None
    measure: str | None = None

    @property
    def healthy(self) -> bool:
        """A control: nothing may be found."""
        return not self.roots


RECIPES: dict[str, Recipe] = {}


def fault(
    name: str, *roots: str, by: int, layers: tuple[str, ...] = (), measure: str | None = None
) -> Callable[[Build], Build]:
    """Register a faulty recipe."""

    def register(build: Build) -> Build:
        RECIPES[name] = Recipe(
            id=name, build=build, roots=roots, layers=layers, by=by, measure=measure
        )
        return build

    return register


def healthy(name: str) -> Callable[[Build], Build]:
    """Register a healthy control."""

    def register(build: Build) -> Build:
        RECIPES[name] = Recipe(id=name, build=build)
        return build

    return register
