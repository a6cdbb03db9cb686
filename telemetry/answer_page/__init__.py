"""Answers about a model as one HTML file: no request, every text of others escaped.

It knows neither torch nor a terminal: it reads what `telemetry explain --json` prints.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

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
    body = [_above(kind, answers), *(section(kind, answer, picture) for answer in answers)]
    return document(title, body)


def document(
    title: str, body: Sequence[str], *, style: str = "", script: str = "", policy: str = ""
) -> str:
    """A file of HTML.

    Args:
        title: Plain text, which is its heading as well.
        body: Pieces that are HTML already.
        style: Rules of CSS after those of every page.
        script: Our own JavaScript, the only one that a browser will run there.
        policy: What a browser may do with the page; '' is `policy_of(script)`.
    """
    allowed = escaped(policy or policy_of(script))
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
        f"<title>{escaped(title)}</title><style>{STYLE}{style}</style>"
    )
    parts = [element("h1", escaped(title)), *body, paragraph("telemetry", "foot")]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body><main>\n'
        + "\n".join(filter(None, parts))
        + f"\n</main>{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )


def policy_of(script: str) -> str:
    """What a browser may do with the page: run nothing, or the script with this very text."""
    if not script:
        return POLICY
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return f"{POLICY}; script-src 'sha256-{digest}'"


def _above(kind: str, answers: Sequence[Mapping[str, Json]]) -> str:
    """What stands above all sections."""
    return drawing(kind).summary(answers) if answers else paragraph("no answer")
