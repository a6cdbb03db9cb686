"""An experiment on a run, carried out and shown: `telemetry try` and `telemetry record --try`."""

from typing import TYPE_CHECKING

from telemetry.cli.cached_diagnosis import judged, policy
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.progress import counted_bar
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import plural

if TYPE_CHECKING:
    import telemetry
    from telemetry.store.runs.run import Run
    from telemetry.trials.plan import Plan
    from telemetry.trials.result import Tries

EXIT_NOT_REPLAYED, EXIT_NOT_CONFIRMED, EXIT_INTERRUPTED = 1, 3, 130


def carried_out(
    store: "telemetry.Store",
    run: "Run",
    plan: "Plan",
    *,
    jobs: int | None = None,
    timeout_s: float | None = None,
    in_place: bool = False,
) -> "Tries":
    """Run what was planned, with a bar on stderr."""
    from telemetry.trials.try_run import carry_out  # noqa: PLC0415 - duckdb

    with counted_bar("replaying", at_once=True) as advance:
        return carry_out(
            store,
            run,
            plan,
            jobs=jobs,
            timeout_s=timeout_s,
            in_place=in_place,
            progress=advance,
        )


def show_experiment(screen: Screen, run: "Run", tries: "Tries") -> None:
    """What was tried and what it has shown, or why nothing could be judged."""
    from telemetry.cli.screens.tries import show_tries  # noqa: PLC0415 - numpy

    if screen.wants_json:
        screen.json({"run": run.to_json(), **tries.to_json()})
    elif tries.is_replayed:
        screen.line(
            Span(run.name, Style.STRONG),
            run.short,
            f"{plural(tries.steps, 'step')}, {plural(len(tries.seed_offsets), 'seed')}",
            "replayed bit for bit",
        )
        show_tries(screen, tries)
    else:
        screen.line(Span(run.name, Style.STRONG), run.short, Span("cannot be replayed identically"))
        screen.paragraph(_difference(tries), indent=2)
    if tries.same_seeds:
        screen.warn(
            f"{plural(tries.same_seeds, 'further seed')} changed no loss: the script draws no "
            "random number, or not from seeds that it sets."
        )
    if tries.interrupted:
        screen.warn("interrupted; the remedies that had ended are shown.")
    if not tries.kept:
        screen.warn("the verdicts could not be stored, because the run's folder is read-only.")


def diagnosed_and_tried(screen: Screen, store: "telemetry.Store", run: "Run") -> int:
    """Diagnose a run, and try the remedies of the causes; returns the exit code of `telemetry try`.

    A run in which no cause is found is no failure: nothing is tried, and the code is 0.
    """
    from telemetry.cli.screens import diagnosis as diagnosis_screen  # noqa: PLC0415 - duckdb
    from telemetry.trials.plan import NothingToTry, plan_tries  # noqa: PLC0415 - duckdb

    diagnosis = judged(store, run)
    diagnosis_screen.show(screen, run, diagnosis, whole=False)
    try:
        plan = plan_tries(store, run, policy=policy())
    except NothingToTry as nothing:
        screen.paragraph(str(nothing))
        return EXIT_NOT_CONFIRMED if diagnosis.findings else 0
    screen.blank()
    tries = carried_out(store, run, plan)
    show_experiment(screen, run, tries)
    return exit_code(tries)


def _difference(tries: "Tries") -> str:
    apart = "" if tries.apart is None else f" by up to {numbers.percent(tries.apart)} of the loss"
    return (
        f"the unchanged replay has another loss from step {tries.first_difference} on, and two "
        f"unchanged replays differ{apart}; the script must set every seed that it uses "
        "(torch.manual_seed, and those of random and numpy), and its data must not have changed"
    )


def exit_code(tries: "Tries") -> int:
    """0 if a remedy is confirmed, 3 if none is, 1 if the run cannot be replayed identically."""
    if tries.interrupted:
        return EXIT_INTERRUPTED
    if not tries.is_replayed:
        return EXIT_NOT_REPLAYED
    return 0 if tries.is_confirmed else EXIT_NOT_CONFIRMED
