"""`--html FILE`: answers as a page of their own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from telemetry.errors import UsageError
from telemetry.store.files.kept_files import PAGES, keep_file

if TYPE_CHECKING:
    from telemetry.json_values import Json

HTML = click.option(
    "--html",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write an HTML page with pictures.",
)


def check_page(path: Path | None) -> None:
    """Refuse a page that has no folder, before anything is computed for it.

    Raises:
        UsageError: there is no such folder.
    """
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"--html {path}: there is no folder {path.parent}.")


def write_page(
    path: Path,
    title: str,
    kind: str,
    answers: "Sequence[Mapping[str, Json]]",
    picture: Callable[[str], bytes | None] = lambda _: None,
) -> None:
    """Write a page, or replace it; see `telemetry.answer_page.page`.

    Raises:
        UsageError: the file cannot be written.
    """
    from telemetry.answer_page import page  # noqa: PLC0415 - keeps --help fast

    try:
        path.write_text(page(title, kind, answers, picture), "utf-8")
    except OSError as error:
        raise UsageError(f"--html {path}: cannot be written ({error.strerror}).") from error


def keep_page(
    run: Path,
    title: str,
    kind: str,
    answer: "Mapping[str, Json]",
    identity: str,
    picture: Callable[[str], bytes | None],
) -> str:
    """Keep the page of one answer in its run, by what it has under `identity`; the place there.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    from telemetry.answer_page import page  # noqa: PLC0415 - keeps --help fast

    place = f"{PAGES}/{answer[identity]}.html"
    keep_file(run, place, page(title, kind, [answer], picture).encode())
    return place
