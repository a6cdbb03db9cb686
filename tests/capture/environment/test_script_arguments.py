"""Words after a script as its configuration."""

import pytest

from telemetry.capture.environment.script_arguments import config_of
from telemetry.json_values import Json


@pytest.mark.parametrize(
    ("line", "config"),
    [
        ("", {}),
        ("--lr 0.1 --epochs 3", {"lr": 0.1, "epochs": 3}),
        ("--learning-rate=1e-3 -b 8", {"learning_rate": 0.001, "b": 8}),
        ("--fast --offset -2", {"fast": True, "offset": -2}),
        ("data --fast", {"arguments": "data", "fast": True}),
        ("a --lr 1 b --lr 2", {"arguments": "a b", "lr": 2}),
        ("--limit inf --name run-1", {"limit": "inf", "name": "run-1"}),
        ("- --", {"arguments": "- --"}),
        ("--url=a=b --empty=", {"url": "a=b", "empty": ""}),
        ("lr=0.1 +model=big", {"arguments": "lr=0.1 +model=big"}),
    ],
)
def test_options_become_keys_and_the_rest_is_kept(line: str, config: dict[str, Json]) -> None:
    assert config_of(line.split()) == config
