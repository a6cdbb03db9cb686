"""Whether a recorded training can be started again, and with which command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from telemetry.errors import UsageError
from telemetry.format.ownership import doubt
from telemetry.format.replay import RECORDED_VARIABLES, REPLAY_KEY, Replay, script_digest
from telemetry.json_values import json_object, json_text
from telemetry.requests.record import AUTO_VARIABLE, RecordRequest
from telemetry.store.runs.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What is started.

    Attributes:
        words: With the interpreter; a script below the folder by its path from there.
        folder: The working directory of the recorded run.
        request: What it is recorded with, as the recorded run was.
        variables: Environment variables as they were recorded; those that are known and were not
            set then are None.
    """

    words: tuple[str, ...]
    folder: Path
    variables: Mapping[str, str | None]
    request: RecordRequest = field(default_factory=RecordRequest)


def command_line(run: Run, *, changed_code: bool, trust: bool) -> CommandLine:
    """How to start the training of a run again.

    Args:
        run: The recorded run.
        changed_code: Also where the script has changed since.
        trust: Also where this user has not recorded the run.

    Raises:
        UsageError: it cannot be; the message says what has changed or is missing.
    """
    replay = _replay(run, trust=trust)
    script, folder = Path(replay.script), Path(replay.folder)
    if replay.n_hidden:
        raise UsageError(
            f"{run.name} ({run.short}) cannot be replayed: an argument that looks like a secret "
            "was not recorded."
        )
    for what, path in (
        ("interpreter", Path(replay.interpreter)),
        ("script", script),
        ("working directory", folder),
    ):
        if not path.exists():
            raise UsageError(
                f"{run.name} ({run.short}) cannot be replayed: the {what} {path} is gone."
            )
    if script_digest(script) != replay.script_hash and not changed_code:
        raise UsageError(
            f"{script} has changed since {run.name} ({run.short}) was recorded; use --changed-code "
            "to run it as it is now, or record it again."
        )
    return CommandLine(
        words=(replay.interpreter, *_from_folder(replay.words, script, folder)),
        folder=folder,
        variables=_variables(run),
        request=RecordRequest.of({AUTO_VARIABLE: replay.request}) or RecordRequest(),
    )


def _replay(run: Run, *, trust: bool) -> Replay:
    manifest = run.manifest
    replay = None if manifest is None else Replay.of(manifest.extra)
    if manifest is None or replay is None:
        raise UsageError(
            f"{run.name} ({run.short}) cannot be replayed: run.json does not say how it was "
            "started. A script file that runs as one process is needed, not standard input, -c or "
            "a notebook; runs of older versions do not say it either."
        )
    if len(manifest.attempts) > 1:
        raise UsageError(
            f"{run.name} ({run.short}) cannot be replayed: it was resumed, so a replay would not "
            "begin where it did."
        )
    why = doubt(manifest.run, manifest.project, manifest.extra, about=REPLAY_KEY)
    if why is not None and not trust:
        raise UsageError(
            f"{run.name} ({run.short}) names the command {' '.join(replay.words)}, and {why}. If "
            "you trust it, use --trust-run."
        )
    return replay


def _from_folder(words: Sequence[str], script: Path, folder: Path) -> list[str]:
    """The words, a script in the folder by its path from there: a copy runs its own script."""
    inside = script.is_relative_to(folder)
    shown = str(script.relative_to(folder)) if inside else str(script)
    return [shown if _is_script(word, script, folder) else word for word in words]


def _is_script(word: str, script: Path, folder: Path) -> bool:
    try:
        return word.endswith(script.name) and (folder / word).resolve() == script.resolve()
    except OSError:
        return False


def _variables(run: Run) -> dict[str, str | None]:
    environment = json_object(run.manifest.environment if run.manifest else None)
    found = json_object(environment.get("variables"))
    return {name: json_text(found.get(name)) for name in RECORDED_VARIABLES}
