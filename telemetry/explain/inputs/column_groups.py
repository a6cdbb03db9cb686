"""Columns of a table that are one value in several, such as a one-hot code."""

from collections.abc import Mapping, Sequence

from telemetry.errors import UsageError
from telemetry.explain.names import kind_of


def column_groups(
    stated: object, names: Sequence[object], place: str
) -> Mapping[str, tuple[int, ...]]:
    """Places of the columns of each group, by its name.

    Args:
        stated: {name: columns}, or a list of lists of columns, each by name or place; None: no
            group.
        names: Of all columns; empty where they have none.
        place: Where it was stated, for messages.

    Raises:
        UsageError: it is neither, there is no such column, or it belongs to two groups.
    """
    if stated is None:
        return {}
    if not isinstance(stated, Mapping | Sequence) or isinstance(stated, str):
        raise UsageError(f"{place} is {kind_of(stated)}, expected {{name: columns}}.")
    groups = stated.items() if isinstance(stated, Mapping) else ((None, group) for group in stated)
    known = [str(name) for name in names]
    found: dict[str, tuple[int, ...]] = {}
    taken: set[int] = set()
    for name, group in groups:
        if not isinstance(group, Sequence) or isinstance(group, str) or not group:
            raise UsageError(f"{place} has {group!r} where a list of columns is expected.")
        columns = tuple(_column(one, known, place) for one in group)
        if taken & {*columns} or len({*columns}) < len(columns):
            raise UsageError(f"{place} has a column in {group!r} twice.")
        taken |= {*columns}
        found[str(name) if name is not None else "+".join(map(str, group))] = columns
    return found


def _column(stated: object, known: Sequence[str], place: str) -> int:
    if isinstance(stated, str) and stated in known:
        return known.index(stated)
    if isinstance(stated, int) and stated >= 0 and (not known or stated < len(known)):
        return stated
    raise UsageError(f"{place} names {stated!r}, which is not a column.")
