"""What every client goes through. Each scenario gets a site as it was at first, and `connect`."""

import json
import re

import anyio

from sites import PATIENCE_S

STATUS = "meter_sync_status"
TRIGGER = "meter_sync_trigger"
# How many meters the site has.
METERS = 30
# Longer than the server rests between two notifications of progress.
A_WHILE_S = 0.6

COLUMNS = "id, name, type, serial_number, active"


async def remote_meters(site):
    return await site.remote(f"select {COLUMNS} from meter where tenant_id = 7 order by id")


async def local_meters(site):
    return await site.local(f"select {COLUMNS} from meter order by id")


async def active(site):
    return [meter["id"] for meter in await site.local("select id from meter where active order by id")]


async def ask(assistant, name, arguments=None, progress=None):
    """What a call gives that goes well: the same for programs and as text."""
    result = await assistant.call(name, arguments or {}, progress)
    assert not result.get("isError"), result
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    return result["structuredContent"]


async def refused(assistant, name, arguments=None):
    """The text of a call that does not."""
    result = await assistant.call(name, arguments or {}, None)
    assert result["isError"] is True, result
    assert "structuredContent" not in result
    return result["content"][0]["text"]


async def read(assistant, uri):
    [contents] = (await assistant.read(uri))["contents"]
    assert (contents["uri"], contents["mimeType"]) == (uri, "application/json")
    return json.loads(contents["text"])


async def hold(site):
    """Keeps every run from writing until the site's session rolls back."""
    await site.local("begin; lock table meter in exclusive mode")


async def release(site):
    await site.local("rollback")


async def idle(assistant):
    """The status once nothing runs."""
    with anyio.fail_after(PATIENCE_S):
        while (status := await ask(assistant, STATUS))["activity"] != "idle":
            await anyio.sleep(0.05)
    return status


async def in_sync(site, assistant):
    run = await ask(assistant, TRIGGER)
    assert run["outcome"] == "succeeded"
    assert await local_meters(site) == await remote_meters(site)
    return run


async def lose_most(site):
    """Leaves 5 of the site's meters on the remote."""
    await site.remote("delete from meter where tenant_id = 7 and id > 10")


async def the_two_tools(_site, connect, negotiated):
    async with connect() as assistant:
        assert [tool["name"] for tool in assistant.tools] == [STATUS, TRIGGER]
        assert all(tool["outputSchema"]["type"] == "object" for tool in assistant.tools)
        assert assistant.negotiated == negotiated


async def status_before_any_run(_site, connect, _negotiated):
    async with connect() as assistant:
        status = await ask(assistant, STATUS)
    assert (status["health"], status["activity"]) == ("never_run", "idle")
    assert status["tenant"] == {"id": "7", "name": "Acme"}
    assert status["meters"] == {"active": 0, "inactive": 0}


async def a_dry_run_names_the_changes_and_writes_nothing(site, connect, _negotiated):
    async with connect() as assistant:
        plan = await ask(assistant, TRIGGER, {"dry_run": True})
    assert plan["outcome"] == "dry_run"
    assert plan["counts"]["inserted"] == plan["changes_total"] == METERS
    first, *_ = await remote_meters(site)
    change = plan["changes"][0]
    assert (change["action"], str(change["key"]["id"])) == ("insert", first["id"])
    assert change["after"]["name"] == first["name"]
    assert await local_meters(site) == []


async def a_run_inserts_the_meters_of_the_remote(site, connect, _negotiated):
    async with connect() as assistant:
        run = await ask(assistant, TRIGGER, {"reason": "judged"})
        assert run["outcome"] == "succeeded"
        assert run["counts"]["inserted"] == METERS
        assert await local_meters(site) == await remote_meters(site)
        status = await ask(assistant, STATUS)
    last = status["last_run"]
    assert (last["run_id"], last["actor"], last["reason"]) == (run["run_id"], "judge 1.0", "judged")
    assert status["meters"] == {"active": METERS, "inactive": 0}


async def progress_grows_and_names_the_phases(site, connect, _negotiated):
    told = []

    async def progress(progress, _total, message):
        told.append((progress, message))

    async def let_go():
        await anyio.sleep(A_WHILE_S)
        await release(site)

    async with connect() as assistant:
        await hold(site)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(let_go)
            run = await ask(assistant, TRIGGER, {}, progress)
    assert run["outcome"] == "succeeded"
    assert len(told) >= 2, told
    assert all(before < after for (before, _), (after, _) in zip(told, told[1:])), told
    phase = r"connecting|(reading|comparing): \d+ rows|applying the changes"
    assert all(re.fullmatch(phase, message) for _, message in told), told


async def the_brake_asks_and_only_a_yes_deactivates(site, connect, _negotiated):
    answers = [{"action": "decline"}, {"action": "accept", "content": {"deactivate": True}}]
    questions = []

    def answer(question):
        questions.append(question)
        return answers.pop(0)

    async with connect(answer) as assistant:
        await in_sync(site, assistant)
        await lose_most(site)
        before = await active(site)
        text = await refused(assistant, TRIGGER)
        assert "the user does not let it go on" in text and text.endswith("[MASS_DEACTIVATION_REFUSED]"), text
        assert await active(site) == before
        run = await ask(assistant, TRIGGER)
    assert (run["outcome"], run["counts"]["deactivated"]) == ("succeeded", METERS - 5)
    assert await active(site) == [meter["id"] for meter in await remote_meters(site)]
    assert len(questions) == 2
    for question in questions:
        assert re.match(r"25 of 30 active meters would be deactivated.*Meter 12 \(id 12\)", question["message"])
        schema = question["requestedSchema"]
        assert schema["required"] == ["deactivate"]
        assert schema["properties"]["deactivate"]["type"] == "boolean"


async def the_brake_refuses_where_nobody_can_be_asked(site, connect, _negotiated):
    async with connect() as assistant:
        await in_sync(site, assistant)
        await lose_most(site)
        before = await active(site)
        text = await refused(assistant, TRIGGER)
    assert text.endswith("[MASS_DEACTIVATION_REFUSED]"), text
    assert await active(site) == before


async def an_unknown_argument_is_refused_with_the_nearest(site, connect, _negotiated):
    async with connect() as assistant:
        text = await refused(assistant, TRIGGER, {"dryrun": True})
    assert "no argument `dryrun`; did you mean `dry_run`?" in text and text.endswith("[INVALID_ARGUMENT]"), text
    assert await local_meters(site) == []


async def a_call_given_up_leaves_the_run_and_the_server_going(site, connect, _negotiated):
    async with connect() as assistant:
        await hold(site)
        with anyio.CancelScope() as call:

            async def give_up(*_progress):
                call.cancel()

            await assistant.call(TRIGGER, {"wait_seconds": 50}, give_up)
        assert call.cancelled_caught
        with anyio.fail_after(PATIENCE_S):
            assert (await ask(assistant, STATUS))["activity"] == "running"
        await release(site)
        assert (await idle(assistant))["last_run"]["outcome"] == "succeeded"
        await assistant.hear_out()
    assert await local_meters(site) == await remote_meters(site)


async def status_run_and_meter_are_read_by_address(site, connect, _negotiated):
    async with connect() as assistant:
        run = await in_sync(site, assistant)
        status = await read(assistant, "meter-sync://status")
        assert status["last_run"]["run_id"] == run["run_id"]
        told = await read(assistant, f"meter-sync://runs/{run['run_id']}")
        assert told["run"]["run_id"] == run["run_id"]
        assert len(told["changes"]) == METERS
        assert told["changes"][: len(run["changes"])] == run["changes"]
        meter = await read(assistant, "meter-sync://meters/2")
        assert meter["meter"]["name"] == "Meter 2"
        assert meter["changes"][0]["run_id"] == run["run_id"]
        try:
            await assistant.read("meter-sync://meters/1")
        except Exception as error:
            assert "nothing at `meter-sync://meters/1`" in str(error), error
        else:
            raise AssertionError("another tenant's meter was read")


async def a_subscriber_hears_of_a_run(_site, connect, _negotiated):
    uri = "meter-sync://status"
    async with connect() as assistant, assistant.watch(uri) as update:
        await ask(assistant, TRIGGER)
        with anyio.fail_after(PATIENCE_S):
            assert await update() == uri
        assert (await read(assistant, uri))["last_run"]["outcome"] == "succeeded"


SCENARIOS = [
    the_two_tools,
    status_before_any_run,
    a_dry_run_names_the_changes_and_writes_nothing,
    a_run_inserts_the_meters_of_the_remote,
    progress_grows_and_names_the_phases,
    the_brake_asks_and_only_a_yes_deactivates,
    the_brake_refuses_where_nobody_can_be_asked,
    an_unknown_argument_is_refused_with_the_nearest,
    a_call_given_up_leaves_the_run_and_the_server_going,
    status_run_and_meter_are_read_by_address,
    a_subscriber_hears_of_a_run,
]
