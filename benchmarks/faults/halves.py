"""Which half of the recipes a recipe belongs to: rules may be made with one and not with the other.

Within each family (recipes with the same first root; the controls) ids are ordered by a hash and
dealt out in turn, so that a family of two or more is in both halves. The assignment is stored: a
new recipe is dealt the half that has fewer of its family, and no other one moves.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from recipe import Recipe

STORED = Path(__file__).with_name("halves.toml")


class Half(StrEnum):
    """What a recipe is for."""

    TUNING = "tuning"
    REPORTING = "reporting"


def family(recipe: Recipe) -> str:
    """The first accepted root, or `healthy`."""
    return recipe.roots[0] if recipe.roots else "healthy"


def stored() -> dict[str, Half]:
    """The half of each recipe that has one."""
    halves = tomllib.loads(STORED.read_text("utf-8"))
    return {name: Half(half) for half, names in halves.items() for name in names}


def dealt(recipes: Mapping[str, Recipe], known: Mapping[str, Half]) -> dict[str, Half]:
    """Halves of all recipes; those that are known stay.

    Args:
        recipes: By id.
        known: Halves dealt before.
    """
    halves = {name: half for name, half in known.items() if name in recipes}
    for name in sorted(recipes, key=_hash):
        if name not in halves:
            own = [h for n, h in halves.items() if family(recipes[n]) == family(recipes[name])]
            few = own.count(Half.REPORTING) < own.count(Half.TUNING)
            halves[name] = Half.REPORTING if few else Half.TUNING
    return halves


def store(halves: Mapping[str, Half]) -> None:
    """Write the assignment."""
    lines = []
    for half in Half:
        names = sorted(name for name, own in halves.items() if own is half)
        lines.append(f"{half} = [")
        lines += [f'    "{name}",' for name in names]
        lines.append("]")
    STORED.write_text("\n".join(lines) + "\n", "utf-8")


def _hash(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def main() -> None:
    """Deal out recipes that have no half yet."""
    from registry import RECIPES

    store(dealt(RECIPES, stored() if STORED.exists() else {}))


if __name__ == "__main__":
    main()
