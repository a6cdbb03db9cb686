"""The file in which a user keeps hypotheses: read, checked key by key, and added to."""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from telemetry.configuration import nearest
from telemetry.errors import UsageError
from telemetry.evaluate.hypothesis_testing.hypothesis import (
    BASE,
    METRICS,
    RELATIVE,
    Expectation,
    Hypothesis,
    Kind,
    Op,
    Towards,
)
from telemetry.format.runs import publish_bytes

NAME = re.compile(r"[a-z0-9-]+")
KEYS = (
    "name",
    "statement",
    "kind",
    "base",
    "dataset",
    "transform",
    "where",
    "towards",
    "tolerance",
    "expect",
    "min_size",
    "owner",
)
EXPECT_KEYS = ("metric", "op", "value", "versus")
# What each kind needs, and what makes no sense with it.
NEEDED = {
    Kind.MIN: ("dataset",),
    Kind.INVARIANCE: ("base", "transform"),
    Kind.DIRECTION: ("base", "transform"),
    Kind.SUBSET: ("base", "where"),
}


def load_hypotheses(path: Path) -> list[Hypothesis]:
    """The hypotheses of a file, in its order.

    Raises:
        UsageError: it cannot be read, or an entry is wrong; the message names entry and key.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: hypotheses cannot be read ({getattr(error, 'strerror', None) or error}); "
            "`telemetry slices RUN --save-hypothesis NAME` creates a first one."
        ) from error
    found = parse_hypotheses(text, str(path))
    for hypothesis in found:  # of a file alone: a run may have kept one before this was refused
        if hypothesis.kind is Kind.MIN and hypothesis.expect.is_relative:
            raise UsageError(
                f"{path}: {hypothesis.name}: kind min does not compare with another data set, "
                'so it needs a limit; write op = ">=" or "<=" and the limit as value.'
            )
    return found


def parse_hypotheses(text: str, source: str) -> list[Hypothesis]:
    """The hypotheses of a TOML text; `source` names it in messages.

    Raises:
        UsageError: the text is no TOML, or an entry is wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not TOML ({error}).") from error
    entries = document.get("hypothesis")
    if set(document) != {"hypothesis"} or not isinstance(entries, list) or not entries:
        raise UsageError(f"{source}: write each hypothesis as a table [[hypothesis]].")
    found = [_hypothesis(entry, f"{source}, hypothesis {i}") for i, entry in enumerate(entries, 1)]
    names = [hypothesis.name for hypothesis in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{source}: two hypotheses are called {twice[0]}; names must be unique.")
    return found


def append_hypothesis(path: Path, hypothesis: Hypothesis) -> None:
    """Add a hypothesis to a file, which is made when missing.

    Raises:
        UsageError: the file is wrong, has the name already, or cannot be written.
    """
    check_new(path, hypothesis.name)
    text = path.read_text("utf-8").rstrip("\n") + "\n\n" if path.exists() else ""
    try:
        publish_bytes(path, (text + hypothesis.definition).encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def check_new(path: Path, name: str) -> None:
    """Whether a file, perhaps still missing, can take a hypothesis of this name.

    Raises:
        UsageError: the file is wrong or has the name already, or it is no name.
    """
    check_name(name, "the hypothesis")
    if path.exists() and name in {entry.name for entry in load_hypotheses(path)}:
        raise UsageError(f"{path} already has a hypothesis {name}; choose another name.")


def check_name(name: object, place: str) -> str:
    """The name itself.

    Raises:
        UsageError: it is no name of small letters, digits and hyphens.
    """
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    raise UsageError(f"{place}: name is {name!r}, expected lower-case letters, digits and hyphens.")


def _hypothesis(entry: object, place: str) -> Hypothesis:
    if not isinstance(entry, Mapping):
        raise UsageError(f"{place}: write a table [[hypothesis]].")
    name = check_name(entry.get("name"), place)
    place = f"{place} ({name})"
    _check_keys(entry, KEYS, place)
    kind = _one_of(entry.get("kind"), tuple(Kind), f"{place}: kind")
    _check_needed(entry, Kind(kind), place)
    return Hypothesis(
        name=name,
        statement=_text(entry, "statement", place),
        kind=Kind(kind),
        base=_text(entry, "dataset" if kind == Kind.MIN else "base", place),
        expect=_expectation(entry.get("expect"), place),
        transform=_text(entry, "transform", place) if "transform" in entry else None,
        where=_text(entry, "where", place) if "where" in entry else None,
        towards=Towards(
            _one_of(entry.get("towards", Towards.TRUTH), tuple(Towards), f"{place}: towards")
        ),
        tolerance=_tolerance(entry.get("tolerance"), place),
        min_size=_size(entry.get("min_size", 1), place),
        owner=_text(entry, "owner", place) if "owner" in entry else None,
    )


def _size(value: object, place: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise UsageError(
        f"{place}: min_size is {value!r}, expected a number of examples of at least 1."
    )


def _tolerance(value: object, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise UsageError(f"{place}: tolerance is {value!r}, expected a number above 0.")


def _check_needed(entry: Mapping[str, object], kind: Kind, place: str) -> None:
    choices = {"base", "dataset", "transform", "where", "tolerance", "towards"}
    lacking = [key for key in NEEDED[kind] if key not in entry]
    if lacking:
        raise UsageError(f"{place}: kind {kind} needs {' and '.join(lacking)}.")
    own = "towards" if kind is Kind.DIRECTION else "tolerance"
    wrong = sorted((choices & set(entry)) - {*NEEDED[kind], own})
    if wrong:
        raise UsageError(f"{place}: kind {kind} has no {wrong[0]}; remove it.")


def _expectation(entry: object, place: str) -> Expectation:
    place = f"{place}: expect"
    if not isinstance(entry, Mapping):
        raise UsageError(
            f'{place} is missing; write {{ metric = "accuracy", op = ">=", value = 0.9 }}.'
        )
    _check_keys(entry, EXPECT_KEYS, place)
    metric = _one_of(entry.get("metric"), METRICS, f"{place}.metric")
    op = Op(_one_of(entry.get("op"), tuple(Op), f"{place}.op"))
    value = entry.get("value", 0.0 if op in RELATIVE else None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{place}.value is {value!r}, expected a number.")
    if entry.get("versus", BASE) != BASE or ("versus" in entry and op not in RELATIVE):
        raise UsageError(
            f'{place}.versus can only be "base", and only with no_worse_than or unchanged.'
        )
    return Expectation(metric=metric, op=op, value=float(value))


def _check_keys(entry: Mapping[str, object], known: Sequence[str], place: str) -> None:
    for key in entry:
        if key not in known:
            raise UsageError(f"{place}: the key {key} is unknown; {nearest(str(key), known)}")


def _one_of(value: object, known: Sequence[str], place: str) -> str:
    if isinstance(value, str) and value in known:
        return value
    raise UsageError(f"{place} is {value!r}, expected one of {', '.join(known)}.")


def _text(entry: Mapping[str, object], key: str, place: str) -> str:
    value = entry.get(key)
    if isinstance(value, str) and value.strip():
        return value
    raise UsageError(f"{place}: {key} is {value!r}, expected a text.")
