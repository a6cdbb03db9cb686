"""Answers about a model as one HTML file: no script, no request, every text of others escaped.

It knows neither torch nor a terminal: it reads what `telemetry explain --json` prints.
"""

from collections.abc import Callable, Mapping, Sequence

from telemetry.answer_page.drawings import drawing
from telemetry.answer_page.html import element, escaped, paragraph
from telemetry.answer_page.sections import section
from telemetry.answer_page.style import STYLE
from telemetry.json_values import Json

# Nothing but what stands in the file itself; a browser refuses all else.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(
    title: str,
    kind: str,
    answers: Sequence[Mapping[str, Json]],
    picture: Callable[[str], bytes | None],
) -> str:
    """A page that shows answers.

    Args:
        title: What was asked, of which run.
        kind: Which kind of answers they are, such as `input`.
        answers: As JSON has them.
        picture: The PNG of a name that an answer gives as its `image`; None: there is none.
    """
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escaped(POLICY)}">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style>"
    )
    body = [element("h1", escaped(title)), _above(kind, answers)]
    body += [section(kind, answer, picture) for answer in answers]
    body += [paragraph("telemetry", "foot")]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body><main>\n'
        + "\n".join(filter(None, body))
        + "\n</main></body></html>\n"
    )


def _above(kind: str, answers: Sequence[Mapping[str, Json]]) -> str:
    """What stands above all sections."""
    return drawing(kind).summary(answers) if answers else paragraph("no answer")
