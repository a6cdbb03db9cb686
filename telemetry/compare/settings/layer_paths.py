"""How the paths of modules lie in each other."""

from collections.abc import Iterable


def containers_of(layers: Iterable[str]) -> frozenset[str]:
    """The modules that contain another of the given ones; '' is the model itself."""
    paths = set(layers)
    inside = {path[:end] for path in paths for end, letter in enumerate(path) if letter == "."}
    if paths - {""}:
        inside.add("")
    return frozenset(inside)
