"""What is known of a run before its first step: what the user said, and where it is made."""

from pathlib import Path

from telemetry.capture.environment.config import flatten_config
from telemetry.capture.environment.environment import capture_environment
from telemetry.capture.environment.ranks import rank_and_world_size
from telemetry.capture.environment.replay import this_replay
from telemetry.capture.writer.writer import RunSettings
from telemetry.requests.models import ExplainSpec


def run_settings(
    *,
    store: Path,
    project: str,
    name: str | None,
    config: object,
    tags: tuple[str, ...],
    total_steps: int | None,
    explain: ExplainSpec | None,
) -> RunSettings:
    """The settings of a run without an id; arguments as those of the callback, checked."""
    rank, world_size = rank_and_world_size()
    return RunSettings(
        store=store,
        project=project,
        name=None if name is None else str(name),
        config=flatten_config(config),
        tags=tags,
        total_steps=total_steps,
        environment=capture_environment(),
        explain=None if explain is None else explain.to_json(),
        replay=this_replay(),
        run_id=None,
        rank=rank,
        world_size=world_size,
    )
