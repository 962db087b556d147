// Starts what is judged, lets the suite judge it under each set of requirements, and gives the verdict.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdirSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";

import { verdict } from "./verdict.mjs";

const SUITE = "node_modules/@modelcontextprotocol/conformance/dist/index.js";
const REQUIREMENTS = ["2025-11-25", "2026-07-28"];
// A site may install Postgres first.
const START_MS = 120_000;
const END_MS = 15_000;
const SUITE_MS = 300_000;

const running = [];
let ending;

function launch(program, args, options) {
  if (ending) throw new Error("told to end");
  const child = spawn(program, args, options);
  running.push(child);
  return child;
}

/** Starts a program; gives what `pattern` finds in its `stream`. What it says on standard error is kept. */
async function start(name, program, { args = [], settings = {}, stream = "stdout", pattern }) {
  const { PATH, HOME } = process.env;
  const child = launch(program, args, { env: { PATH, HOME, ...settings } });
  child.stderr.pipe(createWriteStream(`out/${name}.log`));
  return await new Promise((resolve, reject) => {
    const fail = (how) => reject(new Error(`${name} ${how}: out/${name}.log`));
    createInterface({ input: child[stream] }).on("line", (line) => {
      const found = line.match(pattern);
      if (found) resolve(found[1]);
    });
    child.on("error", reject);
    child.on("exit", (code) => fail(`ended with ${code}`));
    setTimeout(() => fail("does not start"), START_MS).unref();
  });
}

async function end(child) {
  const isOver = child.exitCode !== null || child.signalCode !== null;
  if (isOver || child.pid === undefined) return;
  const ended = once(child, "exit");
  child.stdin.end(); // which ends the site and the fixtures,
  child.kill("SIGTERM"); // and this the program
  const kill = setTimeout(() => child.kill("SIGKILL"), END_MS);
  await ended;
  clearTimeout(kill);
}

/** The suite on one server; its exit code. */
async function suite(url, requirements, expected, out) {
  mkdirSync(out, { recursive: true });
  const args = [SUITE, "server", "--url", url, "--requirements", requirements];
  args.push("--expected-failures", expected, "-o", `${out}/checks`);
  const child = launch(process.execPath, args, { timeout: SUITE_MS });
  const log = createWriteStream(`${out}/suite.log`);
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  const [code, signal] = await once(child, "close");
  log.end();
  return code ?? signal;
}

async function judge(target, url) {
  let isContent = true;
  for (const requirements of REQUIREMENTS) {
    const out = `out/${target}-${requirements}`;
    const expected = `expected/${target}-${requirements}.yaml`;
    const code = await suite(url, requirements, expected, out);
    const { counts, problems } = verdict(`${out}/checks`, requirements, expected);
    if (code !== 0) problems.push(`the suite ended with ${code}: ${out}/suite.log`);
    const told = Object.entries(counts).map(([what, number]) => `${number} ${what}`);
    console.log(`${target}, ${requirements}: ${told.join(", ")}`);
    problems.forEach((problem) => console.log(`  ${problem}`));
    isContent &&= problems.length === 0;
  }
  return isContent;
}

async function startProgram() {
  const { METER_SYNC, METER_SYNC_TEST_SITE } = process.env;
  const site = JSON.parse(await start("site", METER_SYNC_TEST_SITE, { pattern: /^(\{.*\})$/ }));
  const settings = {
    METER_SYNC_REMOTE_URL: site.remote_url,
    METER_SYNC_LOCAL_URL: site.local_url,
    METER_SYNC_LISTEN: "127.0.0.1:0",
    METER_SYNC_SCHEDULE: "off",
  };
  const pattern = /serving MCP .*address=(\S+)/;
  const how = { args: ["serve"], settings, stream: "stderr", pattern };
  return `http://${await start("program", METER_SYNC, how)}/mcp`;
}

function startFixtures() {
  return start("fixtures", process.env.METER_SYNC_TEST_FIXTURES, { pattern: /^(http:\S+)$/ });
}

async function main() {
  rmSync("out", { recursive: true, force: true });
  mkdirSync("out");
  const program = await judge("program", await startProgram());
  const fixtures = await judge("fixtures", await startFixtures());
  return program && fixtures;
}

/** Ends all of them, once: what was started last first, as the site is below the program. */
function endAll() {
  ending ??= (async () => {
    for (const child of running.toReversed()) await end(child);
  })();
  return ending;
}
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => endAll().finally(() => process.exit(1)));
}
try {
  process.exitCode = (await main()) ? 0 : 1;
} finally {
  await endAll();
}
