"""The diagnosis of a run by the policy of the settings file, kept so that lists show its counts."""

from typing import TYPE_CHECKING

from telemetry.cli.output.progress import tracked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import telemetry
    from telemetry.diagnose.finding import Diagnosis, Finding
    from telemetry.diagnose.policy import Policy
    from telemetry.json_values import Json
    from telemetry.store.runs.run import Run


def policy() -> "Policy":
    """What the settings file of the working folder wants of a diagnosis."""
    from telemetry.diagnose.policy_file import load_policy  # noqa: PLC0415 - keeps --help fast

    return load_policy()


def options_in_force() -> str:
    """Hash of that policy, as runs keep it with the counts of their findings."""
    from telemetry.diagnose.identity import options_hash  # noqa: PLC0415 - keeps --help fast

    return options_hash(None, policy())


def counts_in_force() -> "Callable[[Run], Mapping[str, Json] | None]":
    """Counts of the findings of a run, None where it was judged by other settings or not at all."""
    options = options_in_force()

    def counts(run: "Run") -> "Mapping[str, Json] | None":
        return run.finding_counts if run.findings_options in {None, options} else None

    return counts


def judged(store: "telemetry.Store", run: "Run") -> "Diagnosis":
    """What every rule says about a run; a run that has ended keeps the findings."""
    from telemetry.diagnose.diagnose import diagnose_and_keep  # noqa: PLC0415 - duckdb

    return diagnose_and_keep(store, run, policy())


def known_diagnosis(store: "telemetry.Store", run: "Run") -> "Diagnosis":
    """The same as `judged` where the run keeps it: rules that have judged its files stay silent."""
    from telemetry.diagnose.diagnose import diagnosis_of  # noqa: PLC0415 - duckdb

    return diagnosis_of(store, run, policy())


def kept_findings(store: "telemetry.Store", run: "Run") -> "Sequence[Finding]":
    """The findings that a run keeps; where they no longer hold, those of a new diagnosis."""
    from telemetry.diagnose.diagnose import findings_of  # noqa: PLC0415 - duckdb

    return findings_of(store, run, policy())


def judge_all(store: "telemetry.Store", runs: "Sequence[Run]") -> None:
    """Every run that has ended gets its findings, as far as it lacks them; a bar says how far."""
    from telemetry.diagnose.diagnose import ensure_findings  # noqa: PLC0415 - duckdb

    wanted = policy()
    for run in tracked(runs, "diagnosing"):
        ensure_findings(store, [run], wanted)
