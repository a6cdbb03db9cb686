"""The tools of `telemetry mcp`: each is a verb with its `--json`, and asks nothing else of it.

What a parameter means, takes and refuses is read from the verb's own options, and what comes back
is described by the schema that `--json` publishes, so that an agent and a terminal cannot differ.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

import click

from telemetry.cli.main import PROGRAM, group
from telemetry.json_values import Json

SCHEMAS = "telemetry.schemas.json"
RUN_DOC = "The run: id prefix, short id, name, latest, latest~1 or project/name."
SQL_DOC = (
    "One SELECT over the views of the store; `show tables` lists them, `describe layers` the "
    "columns of one."
)
ARGUMENT_DOCS = {"run": RUN_DOC, "sql": SQL_DOC}  # click gives arguments no help of their own
JSON_TYPES = (  # first fit; click's ranges of numbers are numbers
    (click.types.IntParamType, "integer"),
    (click.types.FloatParamType, "number"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a number is where none is given, and at most."""

    usual: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool.

    Attributes:
        name: As agents call it.
        verb: Of the command line.
        says: What it is good for, in words for an agent.
        schema: Name of the published schema of the verb's `--json`.
        parameters: By name, the parameter of the verb that each is.
        required: Those that must be given.
        bounds: Of numbers that a terminal may choose freely.
    """

    name: str
    verb: str
    says: str
    schema: str
    parameters: Mapping[str, str]
    required: tuple[str, ...] = ()
    bounds: Mapping[str, Bound] = field(default_factory=dict)

    def output_schema(self) -> dict[str, Json]:
        """The published schema of what comes back."""
        text = resources.files(SCHEMAS).joinpath(f"{self.schema}.json").read_text("utf-8")
        found: dict[str, Json] = json.loads(text)
        return found

    def input_schema(self) -> dict[str, Json]:
        """What may be asked."""
        known = _parameters(self.verb)
        properties: dict[str, Json] = {
            name: self._property(name, known[own]) for name, own in self.parameters.items()
        }
        return {
            "type": "object",
            "properties": properties,
            "required": list(self.required),
            "additionalProperties": False,
        }

    def words(self, asked: Mapping[str, Json]) -> list[str]:
        """The command line, after `telemetry`; what was asked fits the input schema.

        No value can become an option: each is joined to its own, or stands behind `--`.
        """
        known = _parameters(self.verb)
        options: list[str] = []
        arguments: list[str] = []
        for name, own in self.parameters.items():
            bound = self.bounds.get(name)
            value = asked.get(name, None if bound is None else bound.usual)
            parameter = known[own]
            if isinstance(parameter, click.Argument):
                arguments += _texts(value)
            elif isinstance(parameter, click.Option) and parameter.is_flag:
                options += [_flag(parameter)] if value is True else []
            else:
                options += [f"{_flag(parameter)}={text}" for text in _texts(value)]
        return [self.verb, "--json", *options, "--", *arguments]

    def _property(self, name: str, parameter: click.Parameter) -> dict[str, Json]:
        doc = getattr(parameter, "help", None) or ARGUMENT_DOCS.get(name, "")
        one = _of_one(parameter)
        bound = self.bounds.get(name)
        if bound is not None:
            one = {**one, "maximum": bound.most, "default": bound.usual}
        if parameter.multiple if isinstance(parameter, click.Option) else False:
            one = {"type": "array", "items": one}
        return {**one, "description": str(doc)}


TOOLS = (
    Tool(
        name="list_runs",
        verb="runs",
        says="List recorded training runs, newest first: name, status, steps, metrics, settings "
        "and the number of findings.",
        schema="runs",
        parameters={
            name: name for name in ("project", "tags", "status", "since", "where", "sort", "limit")
        },
        bounds={"limit": Bound(usual=20, most=1_000)},
    ),
    Tool(
        name="diagnose",
        verb="diagnose",
        says="Say what is wrong with a run, in which layer, since which step, and what to do: "
        "causes first, each followed by its consequences.",
        schema="diagnose",
        parameters={"run": "run", "detectors": "detectors", "since": "since"},
    ),
    Tool(
        name="details",
        verb="diagnose",
        says="Show the evidence of one finding of `diagnose`: its numbers layer by layer over the "
        "steps, what a healthy run shows, and the commands that check a fix.",
        schema="explanation",
        parameters={"finding": "details", "run": "run"},
        required=("finding",),
    ),
    Tool(
        name="layers",
        verb="layers",
        says="Show every layer of a run at a step: gradient, weight and update ratio, dead and "
        "saturated units.",
        schema="layers",
        parameters={
            "run": "run",
            "step": "step",
            "around": "around",
            "range": "range_",
            "sort": "sort",
            "quantiles": "quantiles",
        },
    ),
    Tool(
        name="query",
        verb="query",
        says="Run one SELECT over the views of the store. It can read runs and nothing else, and "
        "is limited in rows and in time.",
        schema="query",
        parameters={
            "sql": "sql",
            "runs": "selectors",
            "project": "project",
            "since": "since",
            "limit": "limit",
            "timeout_s": "timeout",
        },
        required=("sql",),
        bounds={
            "limit": Bound(usual=200, most=10_000),
            "timeout_s": Bound(usual=30, most=300),
        },
    ),
    Tool(
        name="diff",
        verb="diff",
        says="Compare two runs or groups of runs: whether the candidate is worse, by how much "
        "with an interval, what differs, and where they first part.",
        schema="diff",
        parameters={
            "base": "base",
            "candidate": "candidate",
            "metrics": "metrics",
            "margin": "margin",
            "directions": "directions",
            "by": "by",
        },
        required=("base", "candidate"),
    ),
    Tool(
        name="sweep",
        verb="sweep",
        says="Analyse the runs of a sweep: which settings matter, which region is best, why runs "
        "failed.",
        schema="sweep",
        parameters={name: name for name in ("project", "tags", "metric", "goal", "folds")},
    ),
)


@lru_cache
def _parameters(verb: str) -> Mapping[str, click.Parameter]:
    """Of a verb, by the name under which its function takes them."""
    verbs = group()
    with click.Context(verbs, info_name=PROGRAM) as context:
        command = verbs.get_command(context, verb)
    if command is None:
        raise AssertionError(f"there is no verb {verb!r}")
    return {str(parameter.name): parameter for parameter in command.params}


def _of_one(parameter: click.Parameter) -> dict[str, Json]:
    """The JSON type of one value."""
    kind = parameter.type
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return {"type": "boolean"}
    if isinstance(kind, click.Choice):
        return {"type": "string", "enum": [str(choice) for choice in kind.choices]}
    name = next((name for own, name in JSON_TYPES if isinstance(kind, own)), "string")
    least = getattr(kind, "min", None)
    return {"type": name} if least is None else {"type": name, "minimum": least}


def _flag(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len)


def _texts(value: Json) -> Iterator[str]:
    """The words of a value: none where it was not given, several for a list."""
    if value is None:
        return
    values: Sequence[Json] = value if isinstance(value, list | tuple) else [value]
    yield from map(str, values)
