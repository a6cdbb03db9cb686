"""Reads the values of an answer that travelled as JSON."""

from collections.abc import Iterator, Mapping, Sequence

from telemetry.json_values import Json

Answer = Mapping[str, Json]


def listed(value: Json) -> Sequence[Json]:
    """A list; empty where there is none."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def mappings(value: Json) -> list[Answer]:
    """The objects of a list."""
    return [entry for entry in listed(value) if isinstance(entry, Mapping)]


def mapping(value: Json) -> Answer:
    """An object; empty where there is none."""
    return value if isinstance(value, Mapping) else {}


def real(value: Json) -> float:
    """A number; those that are not finite travel as texts, and nothing is NaN."""
    return float("nan") if value is None else float(str(value))


def images(value: Json) -> Iterator[str]:
    """Names of all pictures of an answer, its own before those of its parts."""
    if isinstance(value, Mapping):
        if isinstance(own := value.get("image"), str):
            yield own
        for entry in value.values():
            yield from images(entry)
    else:
        for entry in listed(value):
            yield from images(entry)
