"""What the parts of `telemetry explain` share: whom they ask, where results go, what is shown."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, cast

import click

import telemetry
from telemetry.cli.models.child import ask
from telemetry.cli.models.named import run_or_weights, spec_of, with_weights
from telemetry.cli.models.options import (
    TIMEOUT,
    model_options,
    newest_weights,
    source_of,
    weights_of,
)
from telemetry.cli.models.pages import HTML, check_page, keep_page, write_page
from telemetry.cli.options import Settings, complete_runs
from telemetry.cli.output.model_answers import mappings
from telemetry.cli.output.render import Screen, open_screen
from telemetry.errors import Inconclusive, UsageError
from telemetry.requests.explain import Keep, ModelSource
from telemetry.requests.values import Request
from telemetry.store.checkpoint_runs import kept_run

if TYPE_CHECKING:
    from telemetry.json_values import Json
    from telemetry.store.catalog import Run
    from telemetry.store.store import Store

P = ParamSpec("P")
GIVEN = tuple(ModelSource.__dataclass_fields__)
SHARED = ("run", "no_store", "out", "html", "timeout", "trust_run", *GIVEN)
FILES = frozenset({"image", "array", "mask"})  # what names a file of an answer

RUN = click.argument("run", metavar="RUN|CKPT", shell_complete=complete_runs)
OPTIONS = (
    click.option("--no-store", is_flag=True, help="Show the result and keep nothing."),
    click.option(
        "--out",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="Copy pictures and arrays here, too.",
    ),
    HTML,
    TIMEOUT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuestion:
    """A question about the model of a run, before and after it is asked.

    Attributes:
        screen: Where the answer is shown.
        store: That holds the run.
        run: Whose model is asked about, and which keeps the results.
        given: Fields of `ModelSource` by the options; None for those that were not given.
        trust: Whether entry points of a foreign run may be followed.
        keep: Where results go.
        part: Which part of `telemetry explain` asks.
        out: Folder that gets copies of pictures and arrays.
        html: File of a page that shows the answers.
        timeout_s: When to give up; None: never.
    """

    screen: Screen
    store: "Store"
    run: "Run"
    given: Mapping[str, str | None]
    trust: bool
    keep: Keep
    part: str
    out: Path | None
    html: Path | None
    timeout_s: float | None

    @property
    def stated(self) -> ModelSource:
        """Where the parts come from; its checkpoint may be a pattern.

        Raises:
            UsageError: see `source_of`.
        """
        return source_of(self.run, self.given, trust=self.trust)

    @property
    def source(self) -> ModelSource:
        """The same with the newest file of weights.

        Raises:
            UsageError: no file fits, or as above.
        """
        return newest_weights(self.stated, Path.cwd())

    @property
    def weights(self) -> list[Path]:
        """Every file of weights that fits, the oldest first.

        Raises:
            UsageError: none does, or as above.
        """
        return weights_of(self.stated, Path.cwd())

    def ask(self, request: Request, title: str, key: str) -> "list[Mapping[str, Json]]":
        """The answers to a request, computed by the process that runs the model.

        Args:
            request: What is asked.
            title: What is being done, for the progress bar.
            key: Where the document has the answers.

        Raises:
            UsageError: the process says what is wrong with the request, or --out cannot be written.
            Inconclusive: it says so, or does not answer in time.
            TelemetryError: it died.
        """
        found = mappings(ask(request.to_json(), title, self.timeout_s).get(key))
        if self.out is not None:
            self._copy(self.out, found)
        return found

    def tell(
        self,
        key: str,
        found: "Sequence[Mapping[str, Json]]",
        show: "Callable[[Screen, Mapping[str, Json]], None]",
    ) -> int:
        """Show the answers with the places of their pictures; the exit code of their checks.

        Args:
            key: What the answers are called in JSON.
            found: The answers.
            show: Shows one of them.
        """

        def show_each(screen: Screen, entries: "Sequence[Mapping[str, Json]]") -> None:
            for entry in entries:
                show(screen, entry)
                for picture in _files(entry, {"image"}):
                    if (place := self._place(picture)) is not None:
                        screen.verbatim(_near(place), label="picture")

        return self.tell_together(key, found, show_each)

    def tell_together(
        self,
        key: str,
        found: "Sequence[Mapping[str, Json]]",
        show: "Callable[[Screen, Sequence[Mapping[str, Json]]], None]",
    ) -> int:
        """The same where one table holds all answers."""
        found = self._with_pages(key, found)
        if self.screen.wants_json:
            stored = self.keep.run is not None
            self.screen.json({"run": self.run.run, "stored": stored, key: [*found]})
        else:
            show(self.screen, found)
            if self.html is not None:
                self.screen.verbatim(str(self.html), label="page")
        return (
            0 if all(entry.get("ok", True) is True for entry in found) else Inconclusive.exit_code
        )

    def _with_pages(
        self, key: str, found: "Sequence[Mapping[str, Json]]"
    ) -> "list[Mapping[str, Json]]":
        """Write the page of all answers; the answers with the place of their own in the run."""
        title = f"{self.part} of {self.run.name} ({self.run.short})"
        if self.html is not None:
            write_page(self.html, title, key, found, self._png)
        if self.html is None or self.keep.run is None:
            return [{**entry, "page": None} for entry in found]
        run = Path(self.keep.run)
        return [{**entry, "page": keep_page(run, title, key, entry, self._png)} for entry in found]

    def _place(self, picture: str) -> Path | None:
        """Where a picture still lies when the command has ended."""
        if self.out is not None:
            return self.out / Path(picture).name
        return None if self.keep.run is None else Path(self.keep.run) / picture

    def _png(self, name: str) -> bytes | None:
        """A picture of an answer, whose name is relative to the folder that keeps it."""
        path = Path(self.keep.files or "") / name
        return path.read_bytes() if path.is_file() else None

    def _copy(self, out: Path, found: "Sequence[Mapping[str, Json]]") -> None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name in (name for entry in found for name in _files(entry, FILES)):
                shutil.copyfile(Path(str(self.keep.files)) / name, out / Path(name).name)
        except OSError as error:
            raise UsageError(f"--out {out}: cannot be written ({error.strerror}).") from error


def model_question(
    body: Callable[Concatenate[ModelQuestion, P], int],
) -> Callable[P, int]:
    """Adds the options that all parts share; the body gets them, and `RUN`, as a question."""

    @wraps(body)
    def call(settings: Settings, /, *args: P.args, **options: P.kwargs) -> int:
        question = _question(settings, {name: options.pop(name) for name in SHARED})
        return body(question, *args, **options)

    for option in reversed(OPTIONS):
        call = option(call)
    return model_options(click.pass_obj(call))


def _question(settings: Settings, shared: Mapping[str, object]) -> ModelQuestion:
    given = cast("Mapping[str, str | None]", {name: shared[name] for name in GIVEN})
    out = cast("Path | None", shared["out"])
    html = cast("Path | None", shared["html"])
    check_page(html)
    screen = open_screen(settings)
    run, weights = run_or_weights(settings.store, str(shared["run"]))
    trust = bool(shared["trust_run"])
    if weights is not None:
        given = with_weights(given, weights)
        source = source_of(run, given, trust=trust)
        if not shared["no_store"]:
            click.get_current_context().with_resource(kept_run(run, spec_of(source)))
    return ModelQuestion(
        screen=screen,
        store=telemetry.Store(settings.store),
        run=run,
        given=given,
        trust=trust,
        keep=_keep(None if shared["no_store"] else run.ref.path, out, html),
        part=click.get_current_context().command_path,
        out=out,
        html=html,
        timeout_s=cast("float | None", shared["timeout"]),
    )


def _keep(run: Path | None, out: Path | None, html: Path | None) -> Keep:
    """Rows and files into the run; without one, files that are wanted lie in a passing folder."""
    if run is not None or (out is None and html is None):
        place = None if run is None else str(run)
        return Keep(run=place, files=place, takes_large=out is not None)
    passing = tempfile.TemporaryDirectory()
    click.get_current_context().call_on_close(passing.cleanup)
    return Keep(run=None, files=passing.name, takes_large=out is not None)


def _near(place: Path) -> str:
    """A path as one would type it here."""
    return os.path.relpath(place) if place.is_relative_to(Path.cwd()) else str(place)


def _files(value: "Json", names: "frozenset[str] | set[str]") -> Iterator[str]:
    """The files that an answer names, relative to the folder that keeps them."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            if name in names and isinstance(entry, str):
                yield entry
            else:
                yield from _files(entry, names)
    elif isinstance(value, list):
        for entry in value:
            yield from _files(entry, names)
