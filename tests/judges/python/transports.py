"""What the clients of both versions have in common, by name at least."""

import os

from mcp import StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from sites import PROGRAM

TRANSPORTS = ["stdio", "http", "sse"]

NOWHERE = open(os.devnull, "w")


def transport(kind, site, url):
    match kind:
        case "stdio":
            parameters = StdioServerParameters(command=PROGRAM, args=["stdio"], env=site.settings)
            return stdio_client(parameters, errlog=NOWHERE)
        case "http":
            return streamable_http_client(f"{url}/mcp")
        case "sse":
            return sse_client(f"{url}/sse")


def wire(model):
    """A message as it came."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)
