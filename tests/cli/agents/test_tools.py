"""The tools of the server are the verbs' own options, and their values stay values."""

import json

import pytest
from jsonschema import Draft202012Validator

from telemetry.cli.agents.tools import TOOLS, Tool

BY_NAME = {tool.name: tool for tool in TOOLS}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_tool_publishes_schemas_and_a_word_on_each_parameter(tool: Tool) -> None:
    Draft202012Validator.check_schema(tool.input_schema())
    Draft202012Validator.check_schema(tool.output_schema())
    properties = json.loads(json.dumps(tool.input_schema()))["properties"]
    assert [name for name, one in properties.items() if not one["description"]] == []


def test_choices_ranges_and_limits_are_those_of_the_verb() -> None:
    properties = json.loads(json.dumps(BY_NAME["query"].input_schema()))["properties"]
    assert (
        properties["limit"].items()
        >= {
            "type": "integer",
            "minimum": 0,
            "maximum": 10_000,
            "default": 200,
        }.items()
    )
    assert properties["timeout_s"]["type"] == "number"
    assert properties["runs"]["items"] == {"type": "string"}
    layers = json.loads(json.dumps(BY_NAME["layers"].input_schema()))["properties"]
    assert "ratio" in layers["sort"]["enum"]
    assert layers["quantiles"]["type"] == "boolean"


def test_values_that_look_like_options_stay_values() -> None:
    asked = {"sql": "--output=x", "runs": ["--output", "a"], "limit": 5}
    assert BY_NAME["query"].words(asked) == [
        "query",
        "--json",
        "--run=--output",
        "--run=a",
        "--limit=5",
        "--timeout=30",
        "--",
        "--output=x",
    ]
    assert BY_NAME["layers"].words({"quantiles": False, "run": "-h"}) == [
        "layers",
        "--json",
        "--",
        "-h",
    ]
    assert "--quantiles" in BY_NAME["layers"].words({"quantiles": True})
