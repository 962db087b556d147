// Asks everything the inspector can ask, and takes any word of it beside the answer for a complaint.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { PATIENCE_MS, PROGRAM, openSite, serve } from "./site.mjs";

const INSPECTOR = "node_modules/.bin/mcp-inspector";
const ERAS = ["legacy", "modern"];
const TRANSPORTS = {
  stdio: ({ settings }) => [
    ...Object.entries({ ...settings, METER_SYNC_LOG: "warn" }).flatMap((setting) => ["-e", setting.join("=")]),
    PROGRAM,
    "stdio",
  ],
  http: ({ url }) => ["--transport", "http", `${url}/mcp`],
  sse: ({ url }) => [`${url}/sse`],
};
const OURS = Array.from({ length: 30 }, (_, index) => String(2 * index + 2));

const exec = promisify(execFile);

/** The inspector's answer to one request; throws on another exit code, and on any warning. */
async function inspect(target, method, more) {
  const { PATH } = process.env;
  const { stdout, stderr } = await exec(INSPECTOR, ["--cli", ...target, "--method", method, ...more], {
    timeout: PATIENCE_MS,
    env: { PATH, HOME: process.cwd(), MCP_INSPECTOR_SECRET_STORE: "memory" },
  });
  assert.equal(stderr, "");
  return JSON.parse(stdout); // and nothing before or after it
}

const named = (list) => list.map(({ name }) => name);
const content = ({ content, structuredContent, isError }) => {
  assert.ok(!isError);
  assert.deepEqual(JSON.parse(content[0].text), structuredContent);
  return structuredContent;
};
const resource = ({ contents }, uri) => {
  assert.equal(contents.length, 1);
  assert.equal(contents[0].uri, uri);
  assert.equal(contents[0].mimeType, "application/json");
  return JSON.parse(contents[0].text);
};
const local = (site) => site.local("select id from meter where active order by id");

const STEPS = [
  ["the tools are portable", async (ask) => {
    const { tools } = await ask("tools/list", "--strict");
    assert.deepEqual(named(tools), ["meter_sync_status", "meter_sync_trigger"]);
  }],
  ["status before any run", async (ask) => {
    const status = content(await ask("tools/call", "--tool-name", "meter_sync_status"));
    assert.equal(status.health, "never_run");
    assert.deepEqual(status.tenant, { id: "7", name: "Acme" });
  }],
  ["a dry run names what it would insert", async (ask, site) => {
    const call = ["--tool-name", "meter_sync_trigger", "--tool-arg", "dry_run=true"];
    const plan = content(await ask("tools/call", ...call));
    assert.equal(plan.outcome, "dry_run");
    assert.equal(plan.counts.inserted, OURS.length);
    assert.deepEqual(plan.changes.map(({ key }) => String(key.id)), OURS.slice(0, plan.changes.length));
    assert.deepEqual(await local(site), []);
  }],
  ["a run inserts it", async (ask, site) => {
    const call = ["--tool-name", "meter_sync_trigger", "--tool-args-json", '{"reason": "judged"}'];
    const run = content(await ask("tools/call", ...call));
    assert.equal(run.outcome, "succeeded");
    assert.deepEqual((await local(site)).map(({ id }) => id), OURS);
  }],
  ["the resources", async (ask) => {
    const { resources } = await ask("resources/list");
    assert.deepEqual(resources.map(({ uri }) => uri), ["meter-sync://status", "ui://meter-sync/status"]);
  }],
  ["the templates of resources", async (ask) => {
    const { resourceTemplates } = await ask("resources/templates/list");
    assert.deepEqual(
      resourceTemplates.map(({ uriTemplate }) => uriTemplate),
      ["meter-sync://runs/{run_id}", "meter-sync://meters/{key}"],
    );
  }],
  ["the status as a resource", async (ask) => {
    const uri = "meter-sync://status";
    const status = resource(await ask("resources/read", "--uri", uri), uri);
    assert.deepEqual(status.meters, { active: OURS.length, inactive: 0 });
    assert.equal(status.last_run.reason, "judged");
  }],
  ["a meter as a resource", async (ask) => {
    const uri = "meter-sync://meters/2";
    const meter = resource(await ask("resources/read", "--uri", uri), uri);
    assert.match(JSON.stringify(meter), /"Meter 2"/);
  }],
  ["the prompts", async (ask) => {
    const { prompts } = await ask("prompts/list");
    assert.deepEqual(named(prompts), ["in_sync", "last_failure", "changes_since", "preview"]);
  }],
  ["a prompt with an argument", async (ask) => {
    const since = ["--prompt-name", "changes_since", "--prompt-args", "since=2026-01-31"];
    const { messages } = await ask("prompts/get", ...since);
    assert.match(messages[0].content.text, /since 2026-01-31/);
  }],
];

const count = { passed: 0, failed: 0 };

async function judge(transport, era) {
  const site = await openSite();
  const server = transport === "stdio" ? undefined : await serve(site);
  const target = [...TRANSPORTS[transport]({ ...site, ...server }), "--protocol-era", era];
  const ask = (method, ...more) => inspect(target, method, more);
  for (const [name, step] of STEPS) {
    const line = `inspector, ${era}, ${transport}: ${name}`;
    try {
      await step(ask, site);
      count.passed += 1;
      console.log(`ok    ${line}`);
    } catch (error) {
      count.failed += 1;
      console.log(`FAILS ${line}\n${error.stack}`);
    }
  }
  await server?.stop();
  await site.close();
}

for (const era of ERAS) for (const transport of Object.keys(TRANSPORTS)) await judge(transport, era);
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exitCode = count.failed ? 1 : 0;
