"""Seed runs: which runs trained the base's recipe, and what a reader must know of them."""

from collections.abc import Sequence

from telemetry.compare.settings.config_changes import canonical, flat
from telemetry.compare.settings.repeats import essential
from telemetry.evaluate.statistics.paired import MIN_SEEDS
from telemetry.store.runs.run import Run


def same_recipe(runs: Sequence[Run], base: Run) -> list[Run]:
    """Runs of the base's project whose configuration differs from its in seeds alone, it too.

    A run without a configuration says nothing about its recipe and stands alone. Where all that the
    configuration tells is the seed, the script must be the same as far as it is known.
    """
    if not base.config:
        return [base]
    wanted, script = _recipe(base), _script(base)
    found = [
        run for run in runs if run.project == base.project and run.config and _recipe(run) == wanted
    ]
    if wanted or script is None:
        return found
    return [run for run in found if _script(run) in {None, script}]


def of_other_code(base: Run, seeds: Sequence[Run]) -> list[str]:
    """A word about seeds, found by their configuration, that ran another version of the script."""
    of_base = _script(base)
    other = [run.name for run in seeds if of_base and _script(run) not in {None, of_base}]
    if not other:
        return []
    told = (
        f"{', '.join(other)} ran another script than {base.name}, although the configuration is "
        "the same"
    )
    return [f"{told} except for the seed; name the seed runs to use with --seeds."]


def of_other_names(runs: Sequence[Run], base: Run) -> list[str]:
    """A word about runs that would be seeds but for a text that is another in each of them.

    Such as the folder of outputs, where a script hands over all its arguments as configuration.
    """
    wanted, found = _recipe(base), dict[str, dict[str, Run]]()
    for run in runs:
        own = _recipe(run)
        keys = {key for key in wanted.keys() | own.keys() if wanted.get(key) != own.get(key)}
        if run.project == base.project and len(keys) == 1 and (key := keys.pop()) in own:
            found.setdefault(key, {}).setdefault(own[key], run)
    return [
        f"{', '.join(run.name for run in others.values())} would be seeds of {base.name} "
        f"except for {key}, which has another text in each; if it is not part of the recipe, "
        "name the runs with --seeds."
        for key, others in sorted(found.items())
        if len(others) >= MIN_SEEDS - 1
        and all(_is_text(run, key) for run in (base, *others.values()))
    ]


def _is_text(run: Run, key: str) -> bool:
    return isinstance(flat(run.config).get(key), str)


def _recipe(run: Run) -> dict[str, str]:
    return {key: canonical(value) for key, value in essential(run.config).items()}


def _script(run: Run) -> str | None:
    """Hash of the script that trained a run; None where it is not known."""
    found = run.manifest.environment.get("script_hash") if run.manifest else None
    return found if isinstance(found, str) and found else None
