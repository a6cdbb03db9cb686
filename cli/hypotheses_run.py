"""`telemetry hypotheses run`: every data set that a hypothesis asks for goes through the model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.hypothesis_list import show_list
from telemetry.cli.model_child import ask
from telemetry.cli.model_options import model_options, newest_weights, source_of
from telemetry.cli.options import Settings, VerbGroup, complete_runs
from telemetry.cli.render import Screen, open_screen
from telemetry.explain_request import HypothesesRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.evaluate.stored_hypotheses import Listed

EXIT_BROKEN = 1
FEW = 200  # examples, of which only large changes can be seen


def add_run(group: VerbGroup) -> None:
    """Add the part to `telemetry hypotheses`."""
    group.part("run")(run_hypotheses)


@click.argument("run", metavar="RUN", shell_complete=complete_runs)
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default="hypotheses.toml",
    show_default=True,
    help="File of hypotheses.",
)
@click.option("--batch", type=click.IntRange(min=1), default=64, help="Examples a forward.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Of each data set.")
@model_options
@click.pass_obj
def run_hypotheses(
    settings: Settings,
    /,
    *,
    run: str,
    file: Path,
    batch: int,
    limit: int | None,
    trust_run: bool,
    **given: str | None,
) -> int:
    """Test a model on the data set of every hypothesis, and fail if one does not hold.

    The rows lie in the run, so that `hypotheses compare` can hold another model against it.

    Examples:
      telemetry hypotheses run latest
      telemetry hypotheses run latest --file hypotheses.toml --checkpoint best.pt
    """
    from telemetry.evaluate import hypotheses  # noqa: PLC0415 - duckdb

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    chosen = store.select(run)
    known = hypotheses.load_hypotheses(file)
    request = HypothesesRequest(
        source=newest_weights(source_of(chosen, given, trust=trust_run), Path.cwd()),
        definitions=file.read_text("utf-8"),
        place=str(file),
        run=str(chosen.ref.path),
        batch=batch,
        limit=limit,
    )
    ask(request.to_json(), "testing hypotheses")
    names = {hypothesis.name for hypothesis in known}
    every = hypotheses.list_hypotheses(store, [chosen], known)
    listed = [entry for entry in every if entry.hypothesis.name in names]
    _warn_of_few(screen, listed)
    if screen.wants_json:
        entries = [entry.to_json() for entry in listed]
        screen.json({"verb": "hypotheses.run", "run": chosen.run, "hypotheses": entries})
    else:
        screen.paragraph(sentence(listed))
        screen.blank()
        show_list(screen, listed)
    return EXIT_BROKEN if any(entry.holds is False for entry in listed) else 0


def sentence(listed: "Sequence[Listed]") -> str:
    """How many hold, and which do not."""
    broken = [entry.hypothesis.name for entry in listed if entry.holds is False]
    if not broken:
        return f"none of {len(listed)} hypotheses is refuted."
    return f"{len(broken)} of {len(listed)} hypotheses refuted: {', '.join(broken)}."


def _warn_of_few(screen: Screen, listed: "Sequence[Listed]") -> None:
    few = [entry.hypothesis.name for entry in listed if 0 < entry.n < FEW]
    if few:
        screen.warn(
            f"{', '.join(few)}: fewer than {FEW} examples; only large changes can be seen later."
        )
