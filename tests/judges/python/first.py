"""The client of mcp 1.x."""

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import anyio
from mcp import ClientSession, types
from pydantic import AnyUrl

from sites import PATIENCE_S
from transports import transport, wire

# How it negotiates, and what comes of it: the server's name and the version of the protocol.
WAYS = {"mcp 1.x": ("meter-sync", "2025-11-25")}
LACKS = {"mcp 1.x": "cancellation, as it tells the server nothing of a call given up"}

INFO = types.Implementation(name="judge", version="1.0")


class Assistant:
    def __init__(self, session, begun, tools, updates, late):
        self.session = session
        self.late = late
        self.negotiated = (begun.serverInfo.name, begun.protocolVersion)
        self.tools = tools
        self.updates = updates

    async def call(self, name, arguments, progress):
        result = await self.session.call_tool(name, arguments, progress_callback=progress)
        return wire(result)

    async def hear_out(self):
        """Waits for the answer to a call given up: one that meets the client as it leaves ends it with an error."""
        with anyio.fail_after(PATIENCE_S):
            await self.late.wait()

    async def read(self, uri):
        result = await self.session.read_resource(AnyUrl(uri))
        return wire(result)

    @asynccontextmanager
    async def watch(self, uri):
        """Gives what waits for the next address that has changed."""
        await self.session.subscribe_resource(AnyUrl(uri))
        yield self.updates.receive


@asynccontextmanager
async def connect(_way, kind, site, url, answer=None):
    """A client that is connected; `answer` is what its user says to a question, if it can ask."""
    changed, updates = anyio.create_memory_object_stream(100)
    late = anyio.Event()

    async def hear(message):
        match message:
            case RuntimeError() if "unknown request ID" in str(message):
                late.set()  # the answer to a call given up, of which the server was not told
            case Exception():
                logging.warning("%r", message)
            case types.ServerNotification(root=types.ResourceUpdatedNotification(params=params)):
                await changed.send(str(params.uri))

    async def ask(_context, params):
        return types.ElicitResult(**answer(wire(params)))

    async with AsyncExitStack() as stack:
        read, write, *_ = await stack.enter_async_context(transport(kind, site, url))
        session = ClientSession(
            read,
            write,
            read_timeout_seconds=timedelta(seconds=PATIENCE_S),
            elicitation_callback=ask if answer else None,
            message_handler=hear,
            client_info=INFO,
        )
        await stack.enter_async_context(session)
        begun = await session.initialize()
        tools = wire(await session.list_tools())["tools"]
        yield Assistant(session, begun, tools, updates, late)
