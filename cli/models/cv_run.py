"""`telemetry cv run`: what is trained, by which options, and what came of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from telemetry.cli.models.child import ModelDied, ask
from telemetry.cli.options import Settings
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.cli.output.model_answers import listed, mappings
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.compare.terms import Direction
from telemetry.errors import UsageError
from telemetry.requests.cv import KIND, PROJECT, CrossValidateRequest

if TYPE_CHECKING:
    from telemetry.evaluate.cross_validation.parameter_grid import ParameterGrid
    from telemetry.json_values import Json

MOST_CONFIGURATIONS = 64
EXIT_FAILED = 3
SHOWN_ID = 8  # characters

GOALS = {"min": Direction.LOWER, "max": Direction.HIGHER}
METRIC = click.option("--metric", metavar="NAME", help="Use this score if the folds have several.")
GOAL = click.option(
    "--goal",
    type=click.Choice(list(GOALS)),
    help="Which direction is better (default: from the metric's name).",
)

ENTRY = "MODULE:NAME"
UNCOUNTED = (
    "the number of examples is not known; use --n, or name their classes with --labels MODULE:NAME."
)


@click.option(
    "--entry",
    metavar=ENTRY,
    required=True,
    help="Your train_and_score(params, train_idx, test_idx, seed, callback).",
)
@click.option(
    "--params",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Grid file: [params] with a list for each, and [fixed].",
)
@click.option("--n", type=click.IntRange(min=1), metavar="N", help="Number of examples.")
@click.option(
    "--labels", metavar=ENTRY, help="Class of each example; each fold gets its share of each."
)
@click.option(
    "--groups", metavar=ENTRY, help="Group of each example; no group is split between folds."
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Number of folds per repetition.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of repetitions with new folds; use 10 for decisions.",
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="Random seed for folds and trainings.",
)
@click.option(
    "--holdout",
    type=click.FloatRange(min=0.05, max=0.5),
    metavar="SHARE",
    help="Keep this share of the examples out of all folds and score the winner there once.",
)
@click.option(
    "--nested",
    type=click.IntRange(min=2),
    metavar="K",
    help="Choose the configuration of each fold by K inner folds (1 + K times as many trainings).",
)
@METRIC
@GOAL
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of folds to train at the same time.",
)
@click.option(
    "--from-finding",
    metavar="DETECTOR",
    help="Try the advice of exploding_gradient or vanishing_gradient.",
)
@click.option("--project", default=PROJECT, show_default=True, help="Project of the runs.")
@click.option(
    "--app-dir",
    metavar="DIR",
    default=".",
    show_default=True,
    help="Folder that contains your modules.",
)
@click.option("--yes", is_flag=True, help=f"Allow more than {MOST_CONFIGURATIONS} configurations.")
@click.pass_obj
def run(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    entry: str,
    params: Path | None,
    n: int | None,
    labels: str | None,
    groups: str | None,
    folds: int,
    repeats: int,
    seed: int,
    holdout: float | None,
    nested: int | None,
    metric: str | None,
    goal: str | None,
    jobs: int,
    from_finding: str | None,
    project: str,
    app_dir: str,
    yes: bool,
) -> int:
    """Train each configuration of a grid on each fold, with the same folds and seeds for all.

    Each fold is a run, tagged cv=ID and config=ID. Running the same command again trains only the
    folds without a score; other code starts another cross-validation. A fold that diverges counts
    as the worst possible one, and so does a failed fold until it is trained again.

    The winner's score on the folds that chose it is too optimistic. --holdout scores the winner
    once on examples outside all folds. --nested K measures the whole way of choosing: in each fold,
    K inner folds of its training examples choose the configuration that the fold tests. With 5
    folds, 2 repetitions and K = 3, a configuration takes 40 trainings instead of 10.

    Examples:
      telemetry cv run --entry shop:train_and_score --params grid.toml --labels shop:labels
      telemetry cv run --entry shop:train_and_score --params grid.toml --n 500 --holdout 0.2
      telemetry cv run --entry shop:train_and_score --params grid.toml --n 500 --nested 3
      telemetry cv run --entry shop:fit --params grid.toml --n 500 --from-finding exploding_gradient
    """
    screen = open_screen(settings)
    grid = _grid(params, from_finding)
    if not yes:
        _check_size(len(grid.configurations), folds * repeats * (1 + (nested or 0)))
    if n is None and labels is None and groups is None:
        raise UsageError(UNCOUNTED)
    request = CrossValidateRequest(
        entry=entry,
        params=json.dumps(grid.params),
        fixed=json.dumps(grid.fixed),
        store=str(settings.store.absolute()),
        n=n,
        labels=labels,
        groups=groups,
        folds=folds,
        repeats=repeats,
        seed=seed,
        holdout=holdout,
        nested=nested,
        metric=metric,
        goal=GOALS[goal] if goal else None,
        jobs=jobs,
        project=project,
        app_dir=app_dir,
    )
    if nested is not None:
        screen.tell(_cost(len(grid.configurations), folds * repeats, nested))
    answer = _trained(screen, request)
    if screen.wants_json:
        screen.json(answer)
    else:
        show(screen, answer, metric)
    return EXIT_FAILED if _any_failed(answer) else 0


def _grid(params: Path | None, from_finding: str | None) -> "ParameterGrid":
    """The grid of the options.

    Raises:
        UsageError: there is none, or it is wrong.
    """
    from telemetry.evaluate.cross_validation.parameter_grid import (  # noqa: PLC0415 - keeps --help fast
        ParameterGrid,
        advised_grid,
        load_grid,
    )

    if params is None and from_finding is None:
        raise UsageError("no configurations were given; name a file with --params (see --help).")
    given = ParameterGrid() if params is None else load_grid(params)
    return given if from_finding is None else advised_grid(given, from_finding)


def _check_size(n_configurations: int, n_folds: int) -> None:
    """Refuse what would train for days by mistake.

    Raises:
        UsageError: it would.
    """
    if n_configurations > MOST_CONFIGURATIONS:
        raise UsageError(
            f"the grid has {n_configurations} configurations, {n_configurations * n_folds} "
            f"trainings; more than {MOST_CONFIGURATIONS} need --yes."
        )


def _cost(n_configurations: int, n_folds: int, n_inner: int) -> str:
    """What a nested choice takes, said before it begins."""
    n_trainings = n_configurations * n_folds * (1 + n_inner)
    return (
        f"{n_trainings} trainings, not counting those that already have a score: "
        f"{plural(n_configurations, 'configuration')} on {n_folds} folds, and on {n_inner} "
        "inner folds of each."
    )


def _trained(screen: Screen, request: CrossValidateRequest) -> "Mapping[str, Json]":
    """The answer; where there is none, it is said that nothing is lost."""
    try:
        return ask(KIND.document(request), "training folds")
    except KeyboardInterrupt:
        screen.warn("finished scores are kept; run the same command to continue.")
        raise
    except ModelDied as error:
        raise ModelDied(
            f"{error}. Finished scores are kept; with --jobs 2, a fold that dies does not stop "
            "the others."
        ) from error


def show(screen: Screen, answer: "Mapping[str, Json]", metric: str | None = None) -> None:
    """What was trained, a line for each configuration, what was lost, and what to ask next.

    Args:
        screen: Where it is shown.
        answer: Of the process that trained.
        metric: The score that was named.
    """
    screen.paragraph(sentence(answer))
    screen.blank()
    metrics = [str(metric) for metric in listed(answer["metrics"])]
    columns = (
        Column(header="CONFIGURATION", shrinks=True, least=16),
        *(Column(header=metric.upper(), align=Align.RIGHT) for metric in metrics),
        Column(header="FOLDS", align=Align.RIGHT, rank=1),
        Column(header="LOST", align=Align.RIGHT),
    )
    entries = mappings(answer["configurations"])
    rows = tuple(_row(entry, metrics) for entry in entries)
    screen.grid(Grid(columns=columns, rows=rows))
    screen.blank()
    for entry in entries:
        for text in _losses(entry):
            screen.paragraph(text, indent=2, label="LOST")
    if isinstance(answer["holdout"], Mapping):
        screen.paragraph(_held_out(answer["holdout"]), indent=2, label="HOLDOUT")
    if isinstance(nested := answer["nested"], Mapping):
        screen.paragraph(_nested(nested), indent=2, label="NESTED")
    for note in listed(answer["notes"]):
        screen.paragraph(str(note), indent=2, label="note")
    if _any_failed(answer):
        screen.paragraph(
            "run the same command to train the failed folds again", indent=2, label="NEXT"
        )
    if len([entry for entry in entries if entry["means"]]) > 1:
        command = f"telemetry cv compare {str(answer['cv_id'])[:SHOWN_ID]}"
        command += f" --metric {metric or metrics[0]}" if len(metrics) > 1 else ""
        screen.verbatim(command, indent=2, label="NEXT")


def sentence(answer: "Mapping[str, Json]") -> str:
    """What has happened, in one sentence."""
    n_configurations = len(mappings(answer["configurations"]))
    kept, trained = answer["kept"], int(str(answer["trained"]))
    before = f"; {kept} already had a score" if kept else ""
    lost = _count(answer, "lost")
    ending = f"; {lost} of all folds diverged or failed" if lost else ""
    return (
        f"cross-validation {str(answer['cv_id'])[:SHOWN_ID]}: {plural(trained, 'fold')} trained "
        f"for {plural(n_configurations, 'configuration')}{before}{ending}."
    )


def _any_failed(answer: "Mapping[str, Json]") -> bool:
    """Whether the same command has something to train again."""
    holdout = answer["holdout"]
    has_failed = isinstance(holdout, Mapping) and holdout["status"] == "failed"
    nested = answer["nested"]
    has_failed |= isinstance(nested, Mapping) and nested["failed"] != 0
    return has_failed or _count(answer, "failed") > 0


def _count(answer: "Mapping[str, Json]", name: str) -> int:
    return sum(int(str(entry[name])) for entry in mappings(answer["configurations"]))


def _row(entry: "Mapping[str, Json]", metrics: list[str]) -> tuple[Cell, ...]:
    means = entry["means"] if isinstance(entry["means"], Mapping) else {}
    lost = int(str(entry["lost"]))
    shown = (
        numbers.number(float(str(means[metric]))) if metric in means else numbers.NOTHING
        for metric in metrics
    )
    return (
        str(entry["title"]),
        *shown,
        str(len(mappings(entry["folds"]))),
        Span(str(lost), Style.ERROR if lost else Style.FAINT),
    )


def _held_out(entry: "Mapping[str, Json]") -> str:
    """What the winner scored on the examples that no fold has."""
    scores = entry["scores"] if isinstance(entry["scores"], Mapping) else {}
    told = ", ".join(f"{name} {numbers.number(float(str(v)))}" for name, v in scores.items())
    if not told:
        told = str(entry["status"]) + (f" ({entry['error']})" if entry["error"] else "")
    n = plural(int(str(entry["examples"])), "example")
    return f"{entry['title']} won; trained on all folds and scored on {n} outside all folds: {told}"


def _nested(nested: "Mapping[str, Json]") -> str:
    """What the choice scores; what failed in the folds that made it."""
    n_failed = int(str(nested["failed"]))
    why = f": {nested['error']}" if nested["error"] else ""
    failed = f"; {plural(n_failed, 'training')} in inner folds failed{why}" if n_failed else ""
    return f"{nested['answer']}{failed}"


def _losses(entry: "Mapping[str, Json]") -> list[str]:
    """How often a configuration was lost, by the reason."""
    reasons: dict[str, list[str]] = {}
    for fold in mappings(entry["folds"]):
        if fold["status"] != "ok":
            place = f"{fold['repeat']}.{fold['fold']}"
            why = f": {fold['error']}" if fold["error"] else ""
            reasons.setdefault(f"{fold['status']}{why}", []).append(place)
    return [
        f"{entry['title']}: {plural(len(places), 'fold')} {reason}"
        for reason, places in reasons.items()
    ]
