"""The client of mcp 2.x."""

import logging
import warnings
from contextlib import asynccontextmanager

import anyio
import mcp_types as types
from mcp import Client

from sites import PATIENCE_S
from transports import transport, wire

# How it negotiates, and what comes of it: the server's name and the version of the protocol.
WAYS = {
    "mcp 2.x legacy": ("meter-sync", "2025-11-25"),
    "mcp 2.x auto": ("meter-sync", "2026-07-28"),
    "mcp 2.x 2026-07-28": (None, "2026-07-28"),
}
LACKS = {"mcp 2.x 2026-07-28": "the server's name, as it takes the version for granted and asks nothing"}

INFO = types.Implementation(name="judge", version="1.0")

# It calls its way to subscribe before 2026-07-28 deprecated, which is what that way is judged for.
warnings.filterwarnings("ignore", "resources/subscribe is removed")


class Assistant:
    def __init__(self, client, tools, updates):
        self.client = client
        self.negotiated = (client.server_info and client.server_info.name, client.protocol_version)
        self.tools = tools
        self.updates = updates

    async def call(self, name, arguments, progress):
        result = await self.client.call_tool(name, arguments, progress_callback=progress)
        return wire(result)

    async def hear_out(self):
        """The server is told of a call given up, and answers it no more."""

    async def read(self, uri):
        result = await self.client.read_resource(uri)
        return wire(result)

    @asynccontextmanager
    async def watch(self, uri):
        """Gives what waits for the next address that has changed."""
        if self.client.protocol_version < "2026-07-28":
            await self.client.subscribe_resource(uri)
            yield self.updates.receive
            return
        async with self.client.listen(resource_subscriptions=[uri]) as events:

            async def update():
                return (await anext(events)).uri

            yield update


@asynccontextmanager
async def connect(way, kind, site, url, answer=None):
    """A client that is connected; `answer` is what its user says to a question, if it can ask."""
    changed, updates = anyio.create_memory_object_stream(100)

    async def hear(message):
        match message:
            case Exception():
                logging.warning("%r", message)
            case types.ResourceUpdatedNotification(params=params):
                await changed.send(params.uri)

    async def ask(_context, params):
        return types.ElicitResult(**answer(wire(params)))

    client = Client(
        transport(kind, site, url),
        mode=way.removeprefix("mcp 2.x "),
        read_timeout_seconds=PATIENCE_S,
        elicitation_callback=ask if answer else None,
        message_handler=hear,
        client_info=INFO,
    )
    async with client:
        tools = wire(await client.list_tools())["tools"]
        yield Assistant(client, tools, updates)
