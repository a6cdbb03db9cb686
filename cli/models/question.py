"""What the parts of `telemetry explain` share: whom they ask, where results go, what is shown."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

import click

import telemetry
from telemetry.cli.models.child import Told, ask
from telemetry.cli.models.named import run_or_weights, spec_of, with_weights
from telemetry.cli.models.options import (
    TIMEOUT,
    model_options,
    newest_weights,
    source_of,
    weights_of,
)
from telemetry.cli.models.pages import HTML, check_page, keep_page, write_page
from telemetry.cli.models.setting_options import parameters_of, read_settings, with_settings
from telemetry.cli.options import Settings, Verb, complete_runs
from telemetry.cli.output.model_answers import mappings
from telemetry.cli.output.render import Screen, open_screen
from telemetry.errors import Inconclusive, UsageError
from telemetry.requests.kinds import ExplainKind
from telemetry.requests.models import ExplainRequest, Keep, ModelSource
from telemetry.store.runs.checkpoint_runs import kept_run

if TYPE_CHECKING:
    from telemetry.json_values import Json
    from telemetry.store.runs.run import Run
    from telemetry.store.store import Store

P = ParamSpec("P")
E = TypeVar("E", bound=ExplainRequest)
# Of the verbs that compare with training examples, `--train` is a setting of their own.
GIVEN = tuple(name for name in ModelSource.__dataclass_fields__ if name != "train")
SHARED = ("run", "no_store", "out", "html", "timeout", "trust_run", *GIVEN)
FILES = frozenset({"image", "array", "mask"})  # what names a file of an answer

RUN = click.argument("run", metavar="RUN|CKPT", shell_complete=complete_runs)
OPTIONS = (
    click.option("--no-store", is_flag=True, help="Show the result without saving it."),
    click.option(
        "--out",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="Also copy pictures and arrays to this folder.",
    ),
    HTML,
    TIMEOUT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuestion:
    """A question about the model of a run, before and after it is asked.

    Attributes:
        kind: Which kind of question it is.
        screen: Where the answer is shown.
        store: That holds the run.
        run: Whose model is asked about, and which keeps the results.
        given: Fields of `ModelSource` by the options; None for those that were not given.
        trust: Whether entry points of a foreign run may be followed.
        keep: Where results go.
        out: Folder that gets copies of pictures and arrays.
        html: File of a page that shows the answers.
        timeout_s: When to give up; None: never.
    """

    kind: ExplainKind[ExplainRequest]
    screen: Screen
    store: "Store"
    run: "Run"
    given: Mapping[str, str | None]
    trust: bool
    keep: Keep
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

    def ask(self, request: ExplainRequest, told: Told | None = None) -> "list[Mapping[str, Json]]":
        """The answers to a request, computed by the process that runs the model.

        Args:
            request: What is asked; model, weights, data set and keeper are those of this question.
            told: Hears what is known before; only where people look on.

        Raises:
            UsageError: the process says what is wrong with the request, or --out cannot be written.
            Inconclusive: it says so, or does not answer in time.
            TelemetryError: it died.
        """
        asked = replace(request, source=self.source, keep=self.keep, timeout_s=self.timeout_s)
        answer = ask(
            self.kind.document(asked),
            self.kind.doing,
            self.timeout_s,
            told=told if self.screen.for_people else None,
            ends_itself=True,
        )
        found = mappings(answer.get(self.kind.key))
        if self.out is not None:
            self._copy(self.out, found)
        return found

    def tell(
        self,
        found: "Sequence[Mapping[str, Json]]",
        show: "Callable[[Screen, Mapping[str, Json]], None]",
    ) -> int:
        """Show the answers with the places of their pictures; the exit code of their checks.

        Args:
            found: The answers.
            show: Shows one of them.
        """

        def show_each(screen: Screen, entries: "Sequence[Mapping[str, Json]]") -> None:
            for entry in entries:
                show(screen, entry)
                for picture in _files(entry, {"image"}):
                    if (place := self._place(picture)) is not None:
                        screen.verbatim(_near(place), label="picture")

        return self.tell_together(found, show_each)

    def tell_together(
        self,
        found: "Sequence[Mapping[str, Json]]",
        show: "Callable[[Screen, Sequence[Mapping[str, Json]]], None]",
    ) -> int:
        """The same where one table holds all answers."""
        found = self._with_pages(found)
        if self.screen.wants_json:
            stored = self.keep.run is not None
            self.screen.json({"run": self.run.run, "stored": stored, self.kind.key: [*found]})
        else:
            show(self.screen, found)
            if self.html is not None:
                self.screen.verbatim(str(self.html), label="page")
        return (
            0 if all(entry.get("ok", True) is True for entry in found) else Inconclusive.exit_code
        )

    def _with_pages(self, found: "Sequence[Mapping[str, Json]]") -> "list[Mapping[str, Json]]":
        """Write the page of all answers; the answers with the place of their own in the run."""
        title = f"telemetry explain {self.kind.words} of {self.run.name} ({self.run.short})"
        if self.html is not None:
            write_page(self.html, title, self.kind.name, found, self._png)
        if self.html is None or self.keep.run is None:
            return [{**entry, "page": None} for entry in found]
        run = Path(self.keep.run)
        name, identity = self.kind.name, self.kind.identity
        return [
            {**entry, "page": keep_page(run, title, name, entry, identity, self._png)}
            for entry in found
        ]

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


def explain_verb(
    kind: ExplainKind[E],
) -> Callable[[Callable[Concatenate[ModelQuestion, E, P], int]], Verb]:
    """Turns a function into the verb of a kind; its docstring is the help.

    The options are the settings that the kind declares, those that the function has beside, and
    those that all kinds share. The function gets `RUN` and the shared ones as a question, and its
    settings as a request.
    """

    def decorate(body: Callable[Concatenate[ModelQuestion, E, P], int]) -> Verb:
        def call(settings: Settings, /, *args: P.args, **typed: P.kwargs) -> int:
            question = _question(kind, settings, {name: typed.pop(name) for name in SHARED})
            request = read_settings(kind.request, typed)
            return body(question, request, *args, **typed)

        beside: list[click.Parameter] = list(reversed(getattr(body, "__click_params__", [])))
        own = parameters_of(RUN, with_settings(kind.request))
        parameters = [*own, *beside, *parameters_of(model_options, *OPTIONS)]
        verb = Verb(kind.words, doc=body.__doc__ or "", params=parameters)
        verb.callback = click.pass_obj(call)
        return verb

    return decorate


def _question(
    kind: ExplainKind[ExplainRequest], settings: Settings, shared: Mapping[str, object]
) -> ModelQuestion:
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
        kind=kind,
        screen=screen,
        store=telemetry.Store(settings.store),
        run=run,
        given=given,
        trust=trust,
        keep=_keep(None if shared["no_store"] else run.ref.path, out, html),
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
