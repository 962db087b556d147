// What `/metrics` of a served site gives, before the first run and after a few, judged by promtool; and whether the alerts and
// the dashboard ask for anything else.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { openSite, serve, within } from "./site.mjs";

const MONITORING = join(process.env.METER_SYNC_TEST_REPOSITORY, "monitoring");
const read = (name) => readFileSync(join(MONITORING, name), "utf8");

function promtool(args, input) {
  const { status, stdout, stderr } = spawnSync("promtool", args, { input, encoding: "utf8" });
  return { status, said: stdout + stderr };
}

/** What promtool says of a scrape: nothing, if all is well. */
function lint(text) {
  const { status, said } = promtool(["check", "metrics"], text);
  return status === 0 ? said : `exit code ${status}: ${said}`;
}

async function scrape(url) {
  const response = await fetch(`${url}/metrics`);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/plain; version=0.0.4");
  return response.text();
}

/** The names of all series, as a query names them. */
const names = (text) => new Set([...text.matchAll(/^([a-z_]+)[{ ]/gm)].map(([, name]) => name));

/** Every query of the dashboard, and the metrics each names. */
function queries() {
  const { panels, templating } = JSON.parse(read("dashboard.json"));
  const shown = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [`panel ${title}`, expr]));
  const chosen = templating.list.map(({ name, query }) => [`variable ${name}`, query.query ?? ""]);
  const alerts = read("alerts.yml").split("\n").filter((line) => /^ *expr:/.test(line));
  assert.equal(alerts.length, 6);
  return [...shown, ...chosen, ...alerts.map((line) => ["alert", line])];
}

const metricsOf = (query) => query.match(/meter_sync_[a-z_]+/g) ?? [];

/** What promtool says of the dashboard's queries, each as a rule that records it (JSON is YAML, too). */
function lintPanels(panels) {
  const filled = (query) => query.replaceAll("$instance", ".*").replaceAll(/\$__(rate_interval|range)/g, "1h");
  const rules = panels.map(([, query], index) => ({ record: `panel:${index}`, expr: filled(query) }));
  writeFileSync("panels.yml", JSON.stringify({ groups: [{ name: "panels", rules }] }));
  const { status, said } = promtool(["check", "rules", "panels.yml"]);
  return status === 0 ? "" : said;
}

const panels = queries().filter(([where]) => where.startsWith("panel"));
assert.equal(lintPanels(panels), "");
assert.notEqual(lintPanels([["", "sum by (meter_sync_running"]]), "", "promtool must be able to find fault");

const site = await openSite();
const idle = await serve(site);
const before = await scrape(idle.url);
assert.equal(lint(before), "", before);
await idle.stop();

// With a schedule the site is synced at once, as it never was.
site.settings = { ...site.settings, METER_SYNC_SCHEDULE: "@yearly", METER_SYNC_JITTER: "0s" };
const program = await serve(site);
const synced = async () => {
  while (!/^meter_sync_runs_total\{.*trigger="startup"\} 1$/m.test(await scrape(program.url))) await setTimeout(100);
};
await within(synced(), "the first sync");
await site.remote("alter table meter rename to mislaid");
const failed = await fetch(`${program.url}/api/local/meter-sync-trigger`, { method: "POST" });
assert.equal(failed.status, 502);
const after = await scrape(program.url);
await site.remote("alter table mislaid rename to meter");
await program.stop();
await site.close();

assert.equal(lint(after), "", after);
assert.match(after, /^meter_sync_runs_total\{outcome="failed",trigger="rest"\} 1$/m);
assert.notEqual(lint("# TYPE wrong_total gauge\nwrong_total 1\n"), "", "promtool must be able to find fault");
const served = names(after);
let asked = 0;
for (const [where, query] of queries()) {
  for (const metric of metricsOf(query)) {
    assert.ok(served.has(metric), `${where} asks for ${metric}, which is not served`);
    asked += 1;
  }
}
assert.ok(asked >= 20, `${asked} metrics named`);
// None of its panels asks for nothing.
for (const [where, query] of queries().filter(([where]) => !where.startsWith("variable"))) {
  assert.ok(metricsOf(query).length > 0, where);
}
console.log(`promtool has no complaint about ${served.size} names; ${asked} are asked for, and all are served`);
