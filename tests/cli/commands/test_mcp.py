"""`telemetry mcp` as an agent sees it: through the client of the SDK, over stdin and stdout."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import anyio
import pytest
from command_line import Telemetry, validated
from mcp import types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from synthetic import RunBuilder

from telemetry.json_values import Json

Found = TypeVar("Found")
Talk: TypeAlias = Callable[[Client], Awaitable[Found]]
QUERY = "select step, loss from steps where loss is not null order by step"


def talked(store: Path, talk: Talk[Found]) -> Found:
    """What a talk with the server of a store finds; the client checks what the server declares."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-P", "-m", "telemetry", "mcp", "--store", str(store)],
        cwd=str(store.parent),
    )

    async def run() -> Found:
        with anyio.fail_after(120):
            async with Client(stdio_client(server)) as client:
                return await talk(client)

    return anyio.run(run)


async def call(client: Client, tool: str, **asked: Json) -> Mapping[str, Json]:
    """The document of a call, which its published schema accepts."""
    result = await client.call_tool(tool, asked)
    assert not result.is_error, said(result)
    document = result.structured_content
    assert isinstance(document, dict)
    assert json.loads(said(result)) == document
    return document


async def refused(client: Client, tool: str, **asked: Json) -> str:
    """Why a call has no result."""
    result = await client.call_tool(tool, asked)
    assert result.is_error
    return said(result)


def said(result: types.CallToolResult) -> str:
    """The first text of a result."""
    first = result.content[0]
    assert isinstance(first, types.TextContent)
    return first.text


@pytest.mark.slow
def test_each_tool_answers_with_the_document_of_its_verb(
    telemetry: Telemetry, example: Path
) -> None:
    asked: dict[str, tuple[dict[str, Json], str, tuple[object, ...]]] = {
        "list_runs": ({"limit": 2}, "runs", ("runs", "--limit", 2)),
        "diagnose": ({"run": "broken"}, "diagnose", ("diagnose", "broken")),
        "details": (
            {"finding": "1", "run": "broken"},
            "explanation",
            ("diagnose", "broken", "--details", 1),
        ),
        "layers": ({"run": "broken"}, "layers", ("layers", "broken")),
        "query": ({"sql": QUERY, "runs": ["broken"]}, "query", ("query", QUERY, "--run", "broken")),
        "diff": (
            {"base": "base", "candidate": "broken"},
            "diff",
            ("diff", "base", "broken"),
        ),
        "sweep": ({}, "sweep", ("sweep",)),
    }
    told = {
        tool: validated(schema, telemetry(*words, "--json").out)
        for tool, (_, schema, words) in asked.items()
    }

    async def talk(client: Client) -> None:
        listed = (await client.list_tools()).tools
        assert {tool.name for tool in listed} == set(asked)
        for tool in listed:
            found = await call(client, tool.name, **asked[tool.name][0])
            assert found == told[tool.name], tool.name

    talked(example.absolute(), talk)


@pytest.mark.slow
def test_mistakes_come_back_as_the_message_of_the_command_line(
    telemetry: Telemetry, example: Path
) -> None:
    def told(*words: object) -> str:
        done = telemetry(*words)
        assert done.code == 2
        return done.err.removeprefix("telemetry: error: ").strip()

    writes = "copy (select 1) to 'stolen.csv'"
    expected = [
        ("diagnose", {"run": "nobody"}, told("diagnose", "nobody")),
        ("details", {"finding": "99", "run": "base"}, told("diagnose", "base", "--details", 99)),
        ("query", {"sql": writes}, told("query", writes)),
        ("query", {"sql": "select nothing"}, told("query", "select nothing")),
        ("diff", {"base": "base", "candidate": "broken", "margin": "much"}, None),
        # None of these is an option of the command, whatever it looks like.
        ("diagnose", {"run": "--help"}, told("diagnose", "--", "--help")),
        ("query", {"sql": "--schema"}, told("query", "--", "--schema")),
        ("query", {"sql": "from runs", "runs": ["--output=stolen.csv"]}, None),
        ("query", {"sql": "from runs", "limit": 10**9}, None),
        ("query", {}, None),
        ("layers", {"run": 7}, None),
        ("layers", {"output": "stolen.csv"}, None),
        ("diagnose", {"run": "a\0b"}, None),
        ("explode", {}, None),
    ]

    async def talk(client: Client) -> None:
        for tool, asked, message in expected:
            found = await refused(client, tool, **asked)
            assert found if message is None else found == message, (tool, asked, found)
        assert await call(client, "list_runs")  # and it goes on

    talked(example.absolute(), talk)
    assert not list(example.parent.rglob("stolen.csv"))


@pytest.mark.slow
def test_a_query_is_limited_in_rows_bytes_and_time(store: Path) -> None:
    RunBuilder(store).losses([2.0, 1.0]).write()

    async def talk(client: Client) -> None:
        few = await call(client, "query", sql="from range(1000)")
        assert (len(few["rows"]), few["truncated"]) == (200, True)
        wide = "select repeat('x', 3000000), repeat('y', 3000000)"
        assert "4 MB" in await refused(client, "query", sql=wide)
        endless = (
            "select count(*) from range(1000000) a, range(1000000) b where a.range*7 = b.range"
        )
        said = await refused(client, "query", sql=endless, timeout_s=0.2)
        assert "took more than 0.2 s" in said

    talked(store.absolute(), talk)


@pytest.mark.slow
def test_what_a_terminal_is_warned_of_reaches_the_agent(store: Path) -> None:
    RunBuilder(store).losses([2.0, 1.0]).write()
    (next(store.rglob("run.json"))).write_text("{", "utf-8")

    async def talk(client: Client) -> list[str]:
        result = await client.call_tool("list_runs", {})
        assert not result.is_error
        return [one.text for one in result.content if isinstance(one, types.TextContent)]

    _, warning = talked(store.absolute(), talk)
    assert warning.startswith("warning: ")
    assert "run.json" in warning


@pytest.mark.slow
def test_a_store_that_does_not_exist_is_an_error_of_the_call(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    said = talked(missing, partial(refused, tool="list_runs"))
    assert said.startswith(f"{missing}: the store does not exist.")


@pytest.mark.usefixtures("example")
def test_without_the_sdk_the_command_to_install_it_is_told(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "telemetry.cli.agents.server", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    done = telemetry("mcp")
    assert done.code == 2
    assert "pip install 'training-telemetry[mcp]'" in done.err


def test_a_person_is_told_what_it_waits_for_and_can_end_it(store: Path) -> None:
    parent, child = os.openpty()
    command = [sys.executable, "-P", "-m", "telemetry", "mcp", "--store", str(store)]
    with subprocess.Popen(command, stdin=child, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert "an agent that speaks the Model Context Protocol" in server.stderr.readline()
        server.send_signal(signal.SIGINT)
        assert server.wait(60) in {-signal.SIGINT, 130}
    os.close(parent)
    os.close(child)
