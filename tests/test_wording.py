"""What people read avoids words of a private vocabulary, in screens, messages and help texts."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from telemetry.cli.main import group
from telemetry.diagnose.detector import all_detectors

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("telemetry", "cli")
# What to write instead, for whoever meets one.
AVOIDED = {
    r"\bparted\b": "first difference, differ, split",
    r"\btold\b": "reported, shown, known",
    r"\btells? (of|apart|nothing)\b": "report, separate, show nothing",
    r"\b(lies|lie|lay) (in|at|on|under|there|above|below|beside|outside|within|elsewhere)\b": (
        "is, are"
    ),
    r"\bdeviations? of a run\b": "seed-to-seed noise",
    r"\bbits? (a|per) (layer|step)\b": "a factor: 7× per layer",
    r"\banswering without looking\b": "random guessing",
    r"\b(knowing nothing|guessing) costs?\b": "random guessing scores",
    r"\b(go|goes|gone|going|went) on with\b": "continue, resume",
    r"\bwhose a\b": "which ... belongs to",
    r"\bno simple rule\b": "no single parameter explains it",
    r"\bcomes? up by chance\b": "weak evidence: N % chance of coincidence",
    r"\bno run is better\b": "best trade-offs (Pareto front)",
    r"\bnot known to be measured\b": "needs ... measured in eval mode",
    r"\ba (slope|jump|spike) takes\b": "at least N are needed",
    r"\bthe flight recorder is off\b": "slow disk: if the process is killed, ...",
    r"\bis trained in evaluation mode\b": "has trained in eval mode since",
    r"\b(mend|mends|mended)\b": "fix, correct",
    r"\bspoils?\b": "break",
    r"\b(answered|are|is|it) rightly\b": "correctly",
    r"\b(run|runs|side|step|layer|forward|group) a side\b": "per side",
    r"\bits last words\b": "its last output",
    r"\bno matter of\b": "not caused by",
    r"\bfor nobody\b": "without a consumer",
    r"\bholds no\b": "contains no",
    r"(?<!there )\bis no (parameter|number|image|folder|integer|list|tensor|column|text|run)\b": (
        "is not a"
    ),
    r"\b(say|says?) --": "use --",
    r"; else [a-z]": "(default: ...)",
    r"\bdefects? of telemetry\b": "bug in telemetry",
    r"\btorn\b": "incomplete",
    r"\banew\b": "again, reset",
    r"\bexcites?\b": "activates",
    r"\bof Adam's type\b": "of the Adam family",
    r"\bdo not tell\b": "cannot show",
    r"\bto tell (the|how|which)\b": "to know, to predict",
    r"\btells the next\b": "predicts the next",
    r"\bholds? (a|values|labels|tensors|\{\})": "contains, has",
    r"\b(losses|curves|runs) part\b": "first differ",
    r"\b(answer|place|places|target) (lies )?open\b": "can be seen",
    r"\bwhere nobody\b": "without asking, in scripts",
    r"\bnever looks?\b": "random guessing, the best constant answer",
    r"\bthe rule is asked for\b": "with --detector <id>",
    r"\bside by side\b": "at the same time",
    r"\bfingerprint \S+ ->": "the training data differ",
    r"\bis answered (alike|well)\b": "gets the same output, is predicted well",
    r"\bcannot (be told|tell)\b": "cannot be separated, cannot show",
}
ANY = re.compile("|".join(AVOIDED), re.IGNORECASE)
LOOKS_LIKE_SQL = re.compile(r"\s*(SELECT|WITH|CREATE|COPY|INSERT|DELETE|DROP)\b")


def literals(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is not a docstring; a field of an f-string is `{}`."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values)
            yield node.lineno, "".join(map(_part, node.values))
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in skipped and not LOOKS_LIKE_SQL.match(node.value):
            yield node.lineno, node.value


def _part(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "{}"


def helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Where and what: the help of a command, its options and its parts."""
    yield name, command.help or ""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield f"{name} {parameter.opts[0]}", parameter.help or ""
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for part in command.list_commands(context):
                found = command.get_command(context, part)
                assert found is not None
                yield from helps(found, f"{name} {part}")


def avoided(text: str) -> list[str]:
    """What the text has of the words to avoid, each with what to write instead."""
    flat = " ".join(text.split())
    if not ANY.search(flat):  # nearly all
        return []
    return [
        f"{found.group(0)!r} ({instead})"
        for pattern, instead in AVOIDED.items()
        if (found := re.search(pattern, flat, re.IGNORECASE))
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_no_text_of_the_code_uses_a_word_to_avoid(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {words}"
        for path in files
        for line, text in literals(path.read_text(encoding="utf-8"))
        for words in avoided(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_help_uses_a_word_to_avoid() -> None:
    texts = list(helps(group(), "telemetry"))
    assert len(texts) > 100  # all commands and their options
    wrong = [f"{where}: {words}" for where, text in texts for words in avoided(text)]
    assert not wrong, "\n".join(wrong)


def test_no_page_of_a_detector_uses_a_word_to_avoid() -> None:
    """`telemetry detectors <id>` prints its docstring."""
    texts = [(detector.id, detector.doc) for detector in all_detectors()]
    wrong = [f"{where}: {words}" for where, text in texts for words in avoided(text)]
    assert not wrong, "\n".join(wrong)


def test_the_help_of_an_option_is_a_whole_phrase() -> None:
    """It begins with a capital or a name in backquotes, and has two words or more."""
    wrong = [
        f"{where}: {text!r}"
        for where, text in helps(group(), "telemetry")
        if " --" in where and not (re.match(r"[A-Z`]", text) and len(text.split()) > 1)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        'x = "the runs parted at step 3"',
        'x = f"{n} deviations of a run"',
        'x = f"shrinks by {bits} bits " "a layer"',
        'y("answering without\\nlooking costs 2.3")',
        'x = f"the file holds {n} rows"',
        'x = f"fingerprint {a} -> {b}"',
    ],
)
def test_a_word_that_is_put_back_is_found(source: str) -> None:
    assert [words for _, text in literals(source) for words in avoided(text)]


def test_docstrings_and_statements_are_left_alone() -> None:
    assert not list(literals('"""The runs parted."""'))
    assert not list(literals('SQL = "SELECT told FROM parted"'))
