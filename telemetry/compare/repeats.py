"""Runs that repeat one configuration: other seeds, other folds, nothing else."""

from collections.abc import Mapping, Sequence

from telemetry.compare.config_changes import canonical, flat, is_repeat_key
from telemetry.json_values import Json


def grouped(configs: Sequence[Mapping[str, Json]]) -> list[list[int]]:
    """Positions of the configurations that are equal but for seeds and folds, in given order."""
    groups: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        groups.setdefault(canonical(essential(config)), []).append(i)
    return list(groups.values())


def essential(config: Mapping[str, Json]) -> dict[str, Json]:
    """The settings that make a configuration: all but what numbers its repetitions."""
    return {key: value for key, value in flat(config).items() if not is_repeat_key(key)}
