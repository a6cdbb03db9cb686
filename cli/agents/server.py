"""The server of `telemetry mcp`: it speaks on stdin and stdout, and runs a command line per call.

A process of its own answers each call: what it reads is what a terminal would read at that moment,
nothing it prints can disturb the protocol, and a call that is cancelled ends with it.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from subprocess import DEVNULL

import anyio
from anyio.abc import ByteReceiveStream, Process
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from mcp import types
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server

import telemetry
from telemetry.cli.agents.answers import MOST_BYTES, Answer, Refused, answer
from telemetry.cli.agents.tools import TOOLS, Tool
from telemetry.configuration import nearest
from telemetry.json_values import Json, dumps

NAME = "training-telemetry"
INSTRUCTIONS = (
    "Recorded PyTorch training runs. Begin with list_runs, then diagnose a run; details shows the "
    "evidence of a finding, layers and query the numbers. diff says whether a change made training "
    "worse, sweep what many runs tell. Nothing here changes a run."
)
COMMAND = (sys.executable, "-P", "-m", "telemetry")
AT_ONCE = 2  # calls; each may use every core
CHUNK = 65_536  # bytes


async def serve(common: Sequence[str]) -> None:
    """Answer calls until stdin ends.

    Args:
        common: Words of every command line, such as the store.
    """
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def list_tools(
        _context: ServerRequestContext[object, object], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in TOOLS])

    async def call_tool(
        _context: ServerRequestContext[object, object], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        try:
            words = words_of(params.name, params.arguments or {})
            async with limiter:
                return _result(await ask([*COMMAND, *common, *words]))
        except Refused as refused:
            text = types.TextContent(type="text", text=str(refused))
            return types.CallToolResult(content=[text], is_error=True)

    server: Server[object] = Server(
        NAME,
        version=telemetry.__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    async with stdio_server() as (read_stream, write_stream):
        await server.run(read_stream, write_stream, server.create_initialization_options())


def words_of(name: str, asked: Mapping[str, Json]) -> list[str]:
    """The command line of a call.

    Raises:
        Refused: there is no such tool, or it does not take what is asked.
    """
    known = {tool.name: tool for tool in TOOLS}
    if name not in known:
        raise Refused(f"there is no tool {name!r}; {nearest(name, sorted(known))}")
    tool = known[name]
    wrong = best_match(Draft202012Validator(tool.input_schema()).iter_errors(asked))
    if wrong is not None:
        place = "".join(f"{part}: " for part in wrong.absolute_path)
        raise Refused(f"{name}: {place}{wrong.message}")
    words = tool.words(asked)
    if not all(map(_can_be_passed, words)):
        raise Refused(f"{name}: a text has a character that no command line takes.")
    return words


async def ask(command: Sequence[str]) -> Answer:
    """What a command line says; it ends when nobody waits for it any more.

    Raises:
        Refused: it ends with an error.
    """
    try:
        process = await anyio.open_process(command, stdin=DEVNULL)
    except OSError as error:
        raise Refused(f"the command cannot be started: {error.strerror}.") from error
    said: dict[str, bytes] = {}

    async def read(name: str, stream: ByteReceiveStream | None) -> None:
        said[name] = b"" if stream is None else await _most_of(stream, process)

    async with aclosing(process):  # which kills it where the call is cancelled
        async with anyio.create_task_group() as readers:
            readers.start_soon(read, "out", process.stdout)
            readers.start_soon(read, "err", process.stderr)
        code = await process.wait()
    return answer(code, said["out"], said["err"])


async def _most_of(stream: ByteReceiveStream, process: Process) -> bytes:
    """All of a stream; a process that says too much is ended."""
    found = bytearray()
    while len(found) <= MOST_BYTES:
        try:
            found += await stream.receive(CHUNK)
        except anyio.EndOfStream:
            return bytes(found)
    process.kill()
    return bytes(found)


def _can_be_passed(word: str) -> bool:
    """Whether a process can be given a word: no NUL, and no half of a surrogate pair."""
    try:
        return b"\0" not in word.encode("utf-8")
    except UnicodeEncodeError:
        return False


def _described(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.says,
        input_schema=tool.input_schema(),
        output_schema=tool.output_schema(),
        annotations=types.ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )


def _result(found: Answer) -> types.CallToolResult:
    texts = [dumps(found.document), *(f"warning: {text}" for text in found.warnings)]
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text) for text in texts],
        structured_content=found.document,
    )
