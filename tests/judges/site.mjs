// What is judged on: a site of two databases of its own, and the program as it serves HTTP over it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export const PROGRAM = process.env.METER_SYNC;

/** Nothing takes longer unless it hangs. */
export const PATIENCE_MS = 30_000;
/** But a site may install Postgres first. */
const INSTALLS_MS = 300_000;

const children = new Set();
process.on("exit", () => children.forEach((child) => child.kill()));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, (_name, number) => process.exit(128 + number));

/** What `promise` gives, or an error that says what did not come in time. */
export async function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing after ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function start(program, args, options) {
  const child = spawn(program, args, options);
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

/** Two databases: the remote with meters 1 to 60, of which the even ones are the site's; the local one empty. */
export async function openSite() {
  const child = start(process.env.METER_SYNC_TEST_SITE, [], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const answer = async (what, ms) => {
    const { value, done } = await within(lines.next(), what, ms);
    if (done) throw new Error(`the site ended: ${what}`);
    return JSON.parse(value);
  };
  const ask = async (line) => {
    child.stdin.write(`${JSON.stringify(line)}\n`);
    const { rows, error } = await answer(JSON.stringify(line));
    if (error) throw new Error(`${JSON.stringify(line)}: ${error}`);
    return rows;
  };
  const urls = await answer("the site's start", INSTALLS_MS);
  const remote = (sql) => ask({ remote: sql });
  const local = (sql) => ask({ local: sql });
  await remote("create table first (like meter including all); insert into first table meter");
  return {
    /** The environment of a program over this site: nothing else is in it. */
    settings: {
      METER_SYNC_REMOTE_URL: urls.remote_url,
      METER_SYNC_LOCAL_URL: urls.local_url,
      METER_SYNC_SCHEDULE: "off",
    },
    remote,
    local,
    /** Both databases as they were at first. */
    async reset() {
      await remote("delete from meter; insert into meter table first");
      await local("rollback; drop schema if exists meter_sync cascade; truncate meter");
    },
    async close() {
      child.stdin.end();
      await within(once(child, "exit"), "the site's end");
    },
  };
}

/** The program over a site, at an address of its own. */
export async function serve(site) {
  const env = { ...site.settings, METER_SYNC_LISTEN: "127.0.0.1:0" };
  const child = start(PROGRAM, ["serve"], { env, stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(child, "exit");
  const log = createInterface(child.stderr);
  const address = new Promise((resolve, reject) => {
    log.on("line", (line) => {
      const found = /serving MCP.* address=(\S+)/.exec(line);
      if (found) resolve(found[1]);
    });
    log.on("close", () => reject(new Error("the program ended before it listened")));
  });
  return {
    url: `http://${await within(address, "the program's start")}`,
    async stop() {
      child.kill();
      await within(ended, "the program's end");
    },
  };
}
