"""Takes the client that is installed through every scenario: judge.py [WORD..].

With words, only through those whose line has all of them.
"""

import logging
import signal
import sys
import traceback
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version

import anyio

import sites
from scenarios import SCENARIOS
from transports import TRANSPORTS

if version("mcp").startswith("1."):
    import first as client
else:
    import second as client

SCENARIO_S = 60


class Complaints(logging.Handler):
    """What the client warns of: nothing, when all is well."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.heard = []

    def emit(self, record):
        if not of_leaving(record):
            self.heard.append(self.format(record))

    def take(self):
        heard, self.heard = self.heard, []
        return heard


def of_leaving(record):
    """Whether a message met the client after it had closed its own end, which it logs as a fault."""
    _kind, error, _trace = record.exc_info or (None, None, None)
    return isinstance(error, (anyio.ClosedResourceError, anyio.BrokenResourceError))


async def play(scenario, way, kind, site, url, complaints):
    await site.reset()
    connect = partial(client.connect, way, kind, site, url)
    with anyio.fail_after(SCENARIO_S):
        await scenario(site, connect, client.WAYS[way])
    heard = complaints.take()
    assert not heard, heard


async def judge(way, kind, complaints):
    """Whether all of it went well."""
    good = True
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(sites.open_site())
        url = None if kind == "stdio" else await stack.enter_async_context(sites.serve(site))
        for scenario in SCENARIOS:
            line = f"{way}, {kind}: {scenario.__name__.replace('_', ' ')}"
            if not all(word in line for word in sys.argv[1:]):
                continue
            try:
                await play(scenario, way, kind, site, url, complaints)
                print(f"ok    {line}", flush=True)
            except Exception:
                good = False
                complaints.take()
                print(f"FAILS {line}\n{traceback.format_exc()}", flush=True)
    return good


async def judge_all():
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    for way, what in client.LACKS.items():
        print(f"lacks {way}: {what}")
    return all([await judge(way, kind, complaints) for way in client.WAYS for kind in TRANSPORTS])


async def end_by_signal(scope):
    """Has everything that was started ended, too."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _signal in signals:
            scope.cancel()


async def main():
    good = False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end_by_signal, tasks.cancel_scope)
        good = await judge_all()
        tasks.cancel_scope.cancel()
    return good


sys.exit(0 if anyio.run(main) else 1)
