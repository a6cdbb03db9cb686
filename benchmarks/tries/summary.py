"""The table of the lines that `run.py` has written."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import cast

from scores import rate

Line = Mapping[str, object]
AGAINST = ("refuted", "made worse", "changes nothing")


def table(lines: Sequence[Line]) -> str:
    """Markdown."""
    skipped = [one for one in lines if "skipped" in one]
    failed = [one for one in lines if "error" in one]
    done = [one for one in lines if "outcomes" in one]
    judged = [one for one in done if one["replayed"]]
    remedied = [one for one in judged if one["kind"] in {"remedied", "published"}]
    rows = {
        "subjects": f"{len(done)} ({len(skipped)} skipped, {len(failed)} not replayed)",
        "control is the recorded run, bit for bit": rate(bool(one["replayed"]) for one in done),
        **_of_remedied("random", [one for one in remedied if one["seed"] is not None]),
        **_of_remedied("published", [one for one in remedied if one["seed"] is None]),
        **_of_answers(judged),
        **_of_healthy([one for one in judged if one["kind"] == "healthy"]),
        "cost, in multiples of the recorded script": _range(cast("float", o["cost"]) for o in done),
    }
    text = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join([*text, "", *_refuted(judged)])


def _of_remedied(word: str, lines: Sequence[Line]) -> dict[str, str]:
    return {
        f"{word}, with a remedy in the battery: it stands first": rate(
            bool(one["true_first"]) for one in lines
        ),
        f"{word}: it is confirmed": rate(bool(one["true_confirmed"]) for one in lines),
        f"{word}: a finding of the run asks for it": rate(
            bool(set(_texts(one["true"])) & set(cast("Mapping[str, str]", one["asked"])))
            for one in lines
        ),
    }


def _of_answers(lines: Sequence[Line]) -> dict[str, str]:
    false = [
        dose in _texts(one["false_answers"]) for one in lines for dose in _texts(one["answers"])
    ]
    others = [
        dose not in {*_texts(one["true"])}
        for one in lines
        for dose in cast("Mapping[str, float]", one["confirmed"])
    ]
    return {
        "confirmed as the answer to a finding, and false": rate(false),
        "subjects with such an answer": rate(bool(one["false_answers"]) for one in lines),
        "confirmed at all, and not the true one (most are shown as gains)": rate(others),
    }


def _of_healthy(lines: Sequence[Line]) -> dict[str, str]:
    best = [
        max(gains.values())
        for one in lines
        if (gains := cast("Mapping[str, float]", one["confirmed"]))
    ]
    return {
        "healthy, with a confirmed remedy": rate(bool(one["confirmed"]) for one in lines),
        "healthy: largest gain of each, share of the loss": _range(best),
    }


def _refuted(lines: Sequence[Line]) -> list[str]:
    """Findings against which the experiment speaks, with what was planted."""
    found = [
        f"- {one['name']}{'' if one['seed'] is None else ' ' + str(one['seed'])}: "
        f"{finding} asks for {dose}: {outcome}"
        for one in lines
        for dose, finding in cast("Mapping[str, str]", one["asked"]).items()
        if (outcome := cast("Mapping[str, str]", one["outcomes"])[dose]) in AGAINST
    ]
    return ["Findings whose remedy was refuted, made it worse, or changed nothing:", "", *found]


def _texts(value: object) -> Sequence[str]:
    return cast("Sequence[str]", value)


def _range(values: object) -> str:
    known = sorted(cast("Sequence[float]", list(cast("Sequence[float]", values))))
    if not known:
        return "none"
    return f"{known[0]:.2g} to {known[-1]:.2g}, half below {median(known):.2g}"
