"""`telemetry hypotheses run`: every data set that a hypothesis asks for goes through the model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.models.child import ask_each
from telemetry.cli.models.named import asked_models, kept_models
from telemetry.cli.models.options import model_options, newest_weights
from telemetry.cli.models.setting_options import with_settings
from telemetry.cli.options import Settings, VerbGroup, complete_runs
from telemetry.cli.output.model_answers import mappings
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.screens.hypotheses import show_list
from telemetry.requests.hypotheses import KIND, HypothesesRequest
from telemetry.store.runs.catalog import load_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.cli.models.named import AskedModel
    from telemetry.evaluate.hypothesis_testing.hypothesis import Hypothesis
    from telemetry.evaluate.hypothesis_testing.stored import Listed
    from telemetry.json_values import Json
    from telemetry.store.store import Store

DEFAULT_FILE = Path("hypotheses.toml")
EXIT_BROKEN = 1
FEW = 200  # examples, of which only large changes can be seen


def add_run(group: VerbGroup) -> None:
    """Add the part to `telemetry hypotheses`."""
    group.part("run")(run_hypotheses)


@click.argument(
    "names", metavar="RUN|CKPT...", nargs=-1, required=True, shell_complete=complete_runs
)
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_FILE,
    show_default=True,
    help="File with hypotheses.",
)
@with_settings(HypothesesRequest)
@model_options
@click.pass_obj
def run_hypotheses(
    settings: Settings,
    /,
    *,
    names: tuple[str, ...],
    file: Path,
    batch: int,
    limit: int | None,
    trust_run: bool,
    **given: str | None,
) -> int:
    """Test models on the data set of every hypothesis, and fail if one does not hold.

    The rows are stored in the runs, so `hypotheses compare` can compare them later. A file of
    weights that no run names gets its own run, with the tag `checkpoint`.

    Examples:
      telemetry hypotheses run latest
      telemetry hypotheses run latest --file hypotheses.toml --checkpoint best.pt
      telemetry hypotheses run old.pt new.pt --model shop:build
    """
    from telemetry.evaluate.hypothesis_testing import comparison as hypotheses  # noqa: PLC0415 - duckdb

    screen = open_screen(settings)
    known = hypotheses.load_hypotheses(file)
    models = asked_models(settings.store, names, given, trust=trust_run)
    requests = [
        HypothesesRequest(
            source=newest_weights(model.source, Path.cwd()),
            definitions=file.read_text("utf-8"),
            place=str(file),
            run=str(model.run.ref.path),
            batch=batch,
            limit=limit,
        )
        for model in models
    ]
    with kept_models(models):
        answers = ask_each(KIND, requests, "testing hypotheses")
    listed = _judged(telemetry.Store.open(settings.store), known, models, answers)
    _warn_of_few(screen, listed)
    if screen.wants_json:
        entries = [entry.to_json() for entry in listed]
        run = models[0].run.run
        screen.json({"verb": "hypotheses.run", "run": run, "hypotheses": entries})
    else:
        screen.paragraph(sentence(listed, n_models=len(models)))
        screen.blank()
        show_list(screen, listed, by_run=len(models) > 1)
        if len(models) > 1 and screen.for_people:
            pair = f"{models[0].run.short} {models[-1].run.short}"
            screen.verbatim(f"telemetry hypotheses compare {pair}", indent=2, label="NEXT")
    return EXIT_BROKEN if any(entry.holds is False for entry in listed) else 0


def _judged(
    store: "Store",
    known: "Sequence[Hypothesis]",
    models: "Sequence[AskedModel]",
    answers: "Sequence[Mapping[str, Json]]",
) -> "list[Listed]":
    """What each model makes of the hypotheses that were asked about, by their names."""
    from telemetry.evaluate.hypothesis_testing import comparison as hypotheses  # noqa: PLC0415 - duckdb

    names = {hypothesis.name for hypothesis in known}
    found = [
        entry
        for model, answer in zip(models, answers, strict=True)
        for entry in hypotheses.list_hypotheses(
            store, [load_run(model.run.ref.path)], known, _weights(answer)
        )
        if entry.hypothesis.name in names
    ]
    return sorted(found, key=lambda entry: entry.hypothesis.name)


def _weights(answer: "Mapping[str, Json]") -> str | None:
    """Which weights were judged."""
    judged = mappings(answer.get("evaluations"))
    return str(judged[0]["checkpoint"]) if judged else None


def sentence(listed: "Sequence[Listed]", *, n_models: int = 1) -> str:
    """How many hold, and which do not."""
    n_all = len({entry.hypothesis.name for entry in listed})
    models = "" if n_models == 1 else f", each under {n_models} models,"
    broken: dict[str, list[str]] = {}
    for entry in listed:
        if entry.holds is False and entry.run is not None:
            broken.setdefault(entry.hypothesis.name, []).append(entry.run.name)
    if not broken:
        return f"none of {n_all} hypotheses{models} is refuted."
    told = [name if n_models == 1 else f"{name} ({', '.join(by)})" for name, by in broken.items()]
    return f"{len(broken)} of {n_all} hypotheses{models} refuted: {', '.join(told)}."


def _warn_of_few(screen: Screen, listed: "Sequence[Listed]") -> None:
    few = dict.fromkeys(entry.hypothesis.name for entry in listed if 0 < entry.n < FEW)
    if few:
        screen.warn(
            f"{', '.join(few)}: fewer than {FEW} examples, so a later comparison can only "
            "detect large changes."
        )
