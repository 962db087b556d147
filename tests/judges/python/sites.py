"""What is judged on: a site of two databases of its own, and the program as it serves HTTP over it."""

import json
import os
import re
import tempfile
from contextlib import asynccontextmanager
from subprocess import DEVNULL, PIPE

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

PROGRAM = os.environ["METER_SYNC"]

# Nothing takes longer unless it hangs.
PATIENCE_S = 30

MAX_LINE = 1024 * 1024


class Site:
    """Two databases: the remote with meters 1 to 60, of which the even ones are the site's; the local one empty."""

    def __init__(self, process):
        self.input = process.stdin
        self.output = BufferedByteReceiveStream(process.stdout)

    async def begin(self):
        urls = await self.answer()
        # The environment of a program over this site.
        self.settings = {
            "METER_SYNC_REMOTE_URL": urls["remote_url"],
            "METER_SYNC_LOCAL_URL": urls["local_url"],
            "METER_SYNC_SCHEDULE": "off",
        }
        await self.remote("create table first as table meter")

    async def reset(self):
        """Makes both databases as they were at first."""
        await self.remote("delete from meter; insert into meter table first")
        await self.local("rollback; drop schema if exists meter_sync cascade; truncate meter")

    async def remote(self, sql):
        return await self.ask({"remote": sql})

    async def local(self, sql):
        return await self.ask({"local": sql})

    async def ask(self, line):
        # Half a conversation would mix the answers up.
        with anyio.CancelScope(shield=True):
            await self.input.send(json.dumps(line).encode() + b"\n")
            answer = await self.answer()
        assert "error" not in answer, (line, answer)
        return answer["rows"]

    async def answer(self):
        with anyio.fail_after(PATIENCE_S):
            return json.loads(await self.output.receive_until(b"\n", MAX_LINE))


@asynccontextmanager
async def open_site():
    program = os.environ["METER_SYNC_TEST_SITE"]
    async with await anyio.open_process([program], stdin=PIPE, stdout=PIPE, stderr=None) as process:
        site = Site(process)
        await site.begin()
        yield site
        await process.stdin.aclose()
        with anyio.fail_after(PATIENCE_S):
            await process.wait()


@asynccontextmanager
async def serve(site):
    """The program over a site; gives its URL."""
    env = {**site.settings, "METER_SYNC_LISTEN": "127.0.0.1:0"}
    with tempfile.TemporaryFile("w+") as log:
        process = await anyio.open_process([PROGRAM, "serve"], env=env, stdin=DEVNULL, stdout=DEVNULL, stderr=log)
        try:
            yield f"http://{await address(process, log)}"
        finally:
            process.terminate()
            with anyio.fail_after(PATIENCE_S, shield=True):
                await process.wait()


async def address(process, log):
    with anyio.fail_after(PATIENCE_S):
        while True:
            log.seek(0)
            text = log.read()
            if found := re.search(r"serving MCP.* address=(\S+)\n", text):
                return found[1]
            assert process.returncode is None, text
            await anyio.sleep(0.02)
