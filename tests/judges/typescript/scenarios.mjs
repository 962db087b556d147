// What every client goes through. Each scenario gets a site as it was at first, and `connect`.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { PATIENCE_MS, within } from "./site.mjs";

const STATUS = "meter_sync_status";
const TRIGGER = "meter_sync_trigger";
/** How many meters the site has. */
const METERS = 30;
/** Longer than the server rests between two notifications of progress. */
const A_WHILE_MS = 600;

const COLUMNS = "id, name, type, serial_number, active";
const remoteMeters = (site) => site.remote(`select ${COLUMNS} from meter where tenant_id = 7 order by id`);
const localMeters = (site) => site.local(`select ${COLUMNS} from meter order by id`);
const active = async (site) => (await site.local("select id from meter where active order by id")).map(({ id }) => id);

/** What a call gives that goes well: the same for programs and as text. */
async function ask(assistant, name, args, options) {
  const result = await assistant.call(name, args, options);
  assert.ok(!result.isError, JSON.stringify(result));
  assert.deepEqual(JSON.parse(result.content[0].text), result.structuredContent);
  return result.structuredContent;
}

/** The text of a call that does not. */
async function refused(assistant, name, args) {
  const result = await assistant.call(name, args);
  assert.equal(result.isError, true, JSON.stringify(result));
  assert.equal(result.structuredContent, undefined);
  return result.content[0].text;
}

async function read(assistant, uri) {
  const { contents } = await assistant.read(uri);
  assert.equal(contents.length, 1);
  assert.equal(contents[0].uri, uri);
  assert.equal(contents[0].mimeType, "application/json");
  return JSON.parse(contents[0].text);
}

/** Keeps every run from writing until the function it gives is called. */
async function hold(site) {
  await site.local("begin; lock table meter in exclusive mode");
  return () => site.local("rollback");
}

/** The status once nothing runs. */
async function idle(assistant) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const status = await ask(assistant, STATUS);
    if (status.activity === "idle") return status;
    assert.ok(Date.now() < end, "a run goes on and on");
    await sleep(50);
  }
}

async function inSync(site, assistant) {
  const run = await ask(assistant, TRIGGER);
  assert.equal(run.outcome, "succeeded");
  assert.deepEqual(await localMeters(site), await remoteMeters(site));
  return run;
}

/** Leaves 5 of the site's meters on the remote. */
async function loseMost(site) {
  await site.remote("delete from meter where tenant_id = 7 and id > 10");
}

async function tools({ connect, sdk }) {
  const { tools, server, version } = await connect();
  assert.deepEqual(tools.map(({ name }) => name), [STATUS, TRIGGER]);
  for (const { outputSchema } of tools) assert.equal(outputSchema.type, "object");
  assert.equal(server.name, "meter-sync");
  assert.equal(version, sdk.version);
}

async function status({ connect }) {
  const status = await ask(await connect(), STATUS);
  assert.equal(status.health, "never_run");
  assert.equal(status.activity, "idle");
  assert.deepEqual(status.tenant, { id: "7", name: "Acme" });
  assert.deepEqual(status.meters, { active: 0, inactive: 0 });
}

async function dryRun({ site, connect }) {
  const plan = await ask(await connect(), TRIGGER, { dry_run: true });
  assert.equal(plan.outcome, "dry_run");
  assert.equal(plan.counts.inserted, METERS);
  assert.equal(plan.changes_total, METERS);
  const [first] = await remoteMeters(site);
  assert.equal(plan.changes[0].action, "insert");
  assert.equal(String(plan.changes[0].key.id), first.id);
  assert.equal(plan.changes[0].after.name, first.name);
  assert.deepEqual(await localMeters(site), []);
}

async function trigger({ site, connect }) {
  const assistant = await connect();
  const run = await ask(assistant, TRIGGER, { reason: "judged" });
  assert.equal(run.outcome, "succeeded");
  assert.equal(run.counts.inserted, METERS);
  assert.deepEqual(await localMeters(site), await remoteMeters(site));
  const { last_run: last, meters } = await ask(assistant, STATUS);
  assert.equal(last.run_id, run.run_id);
  assert.equal(last.actor, "judge 1.0");
  assert.equal(last.reason, "judged");
  assert.deepEqual(meters, { active: METERS, inactive: 0 });
}

async function progress({ site, connect }) {
  const assistant = await connect();
  const release = await hold(site);
  const told = [];
  const run = ask(assistant, TRIGGER, {}, { onprogress: (progress) => told.push(progress) });
  await Promise.race([run, sleep(A_WHILE_MS)]);
  await release();
  assert.equal((await run).outcome, "succeeded");
  assert.ok(told.length >= 2, JSON.stringify(told));
  told.slice(1).forEach(({ progress }, index) => assert.ok(progress > told[index].progress, JSON.stringify(told)));
  const phase = /^(connecting|(reading|comparing): \d+ rows|applying the changes)$/;
  for (const { message } of told) assert.match(message, phase);
}

async function brakeAsks({ site, connect }) {
  const answers = [{ action: "decline" }, { action: "accept", content: { deactivate: true } }];
  const questions = [];
  const assistant = await connect(async ({ params }) => {
    questions.push(params);
    return answers.shift();
  });
  await inSync(site, assistant);
  await loseMost(site);
  const before = await active(site);
  assert.match(await refused(assistant, TRIGGER), /the user does not let it go on.*\[MASS_DEACTIVATION_REFUSED\]$/);
  assert.deepEqual(await active(site), before);
  const run = await ask(assistant, TRIGGER);
  assert.equal(run.outcome, "succeeded");
  assert.equal(run.counts.deactivated, METERS - 5);
  assert.deepEqual(await active(site), (await remoteMeters(site)).map(({ id }) => id));
  assert.equal(questions.length, 2);
  for (const { message, requestedSchema } of questions) {
    assert.match(message, /^25 of 30 active meters would be deactivated.*Meter 12 \(id 12\)/);
    assert.deepEqual(requestedSchema.required, ["deactivate"]);
    assert.equal(requestedSchema.properties.deactivate.type, "boolean");
  }
}

async function brakeRefuses({ site, connect }) {
  const assistant = await connect();
  await inSync(site, assistant);
  await loseMost(site);
  const before = await active(site);
  assert.match(await refused(assistant, TRIGGER), /\[MASS_DEACTIVATION_REFUSED\]$/);
  assert.deepEqual(await active(site), before);
}

async function unknownArgument({ site, connect }) {
  const text = await refused(await connect(), TRIGGER, { dryrun: true });
  assert.match(text, /no argument `dryrun`; did you mean `dry_run`\?.*\[INVALID_ARGUMENT\]$/);
  assert.deepEqual(await localMeters(site), []);
}

async function cancel({ site, connect }) {
  const assistant = await connect();
  const release = await hold(site);
  const controller = new AbortController();
  const abort = () => controller.abort(new Error("the judge changed its mind"));
  const options = { signal: controller.signal, onprogress: abort };
  const call = assistant.call(TRIGGER, { wait_seconds: 50 }, options);
  await assert.rejects(within(call, "the end of the cancelled call"), /the judge changed its mind/);
  const meanwhile = await within(ask(assistant, STATUS), "an answer after a cancelled call");
  assert.equal(meanwhile.activity, "running");
  await release();
  const { last_run: last } = await idle(assistant);
  assert.equal(last.outcome, "succeeded");
  assert.deepEqual(await localMeters(site), await remoteMeters(site));
}

async function resources({ site, connect }) {
  const assistant = await connect();
  const { run_id: id, changes } = await inSync(site, assistant);
  assert.equal((await read(assistant, "meter-sync://status")).last_run.run_id, id);
  const run = await read(assistant, `meter-sync://runs/${id}`);
  assert.equal(run.run.run_id, id);
  assert.equal(run.changes.length, METERS);
  assert.deepEqual(run.changes.slice(0, changes.length), changes);
  const meter = await read(assistant, "meter-sync://meters/2");
  assert.equal(meter.meter.name, "Meter 2");
  assert.equal(meter.changes[0].run_id, id);
  await assert.rejects(assistant.read("meter-sync://meters/1"), /nothing at `meter-sync:\/\/meters\/1`/);
}

async function subscription({ connect }) {
  const assistant = await connect();
  const uri = "meter-sync://status";
  let updated;
  const update = new Promise((resolve) => (updated = resolve));
  await assistant.watch(uri, updated);
  await ask(assistant, TRIGGER);
  assert.equal(await within(update, "an update of the status"), uri);
  assert.equal((await read(assistant, uri)).last_run.outcome, "succeeded");
}

export const SCENARIOS = {
  "the two tools": tools,
  "status before any run": status,
  "a dry run names the changes and writes nothing": dryRun,
  "a run inserts the remote's meters": trigger,
  "progress grows and names the phases": progress,
  "the brake asks, and only a yes deactivates": brakeAsks,
  "the brake refuses where nobody can be asked": brakeRefuses,
  "an unknown argument is refused with the nearest": unknownArgument,
  "a cancelled call leaves the run and the server going": cancel,
  "status, run and meter are read by address": resources,
  "a subscriber hears of a run": subscription,
};
