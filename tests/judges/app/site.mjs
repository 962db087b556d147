// The site the card is judged on, the program over it, and a client of that.

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {createInterface} from 'node:readline';
import {Client, StreamableHTTPClientTransport} from '@modelcontextprotocol/client';

/** The card's address. */
export const URI = 'ui://meter-sync/status';
const PATIENCE_MS = 60_000;

/** What `promise` gives, if it does in time. */
export async function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what} took too long`)), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits until `look` gives something true; says what it saw last if it never does. */
export async function until(what, look, ms = 20_000) {
  const end = Date.now() + ms;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

export async function openSite() {
  const child = spawn(process.env.METER_SYNC_SITE, [], {stdio: ['pipe', 'pipe', 'inherit']});
  const lines = createInterface({input: child.stdout})[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await within(lines.next(), 'the site')).value);
  const urls = await next();
  const on = async (side, sql) => {
    child.stdin.write(`${JSON.stringify({[side]: sql})}\n`);
    const {rows, error} = await next();
    if (error) throw new Error(`${side}: ${error}\n${sql}`);
    return rows;
  };
  return {
    urls,
    onRemote: sql => on('remote', sql),
    onLocal: sql => on('local', sql),
    /** As at the start: 30 meters of tenant 7 on the remote, none here, no run. */
    async reset() {
      await on('remote', `drop table if exists meter; drop table if exists meter_moved;
        create table meter (id bigint primary key, tenant_id bigint not null, name text, type text,
          serial_number text, active boolean not null default true);
        insert into meter select id, 7 + id % 2, 'Meter ' || id, 'electricity', 'SN-' || id from generate_series(1, 60) id`);
      await on('local', 'rollback');
      await on('local', `drop schema if exists meter_sync cascade; drop table if exists meter;
        create table meter (id bigint primary key, name text, type text, serial_number text, active boolean not null default true)`);
    },
    async close() {
      child.stdin.end();
      if (child.exitCode === null) await within(once(child, 'exit'), 'the end of the site');
    },
  };
}

/** `meter-sync serve` with these settings, and a client that shows cards and cannot ask its user. */
export async function serve(settings) {
  const env = {METER_SYNC_LISTEN: '127.0.0.1:0', METER_SYNC_SCHEDULE: 'off', ...settings};
  const child = spawn(process.env.METER_SYNC, ['serve'], {env, stdio: ['ignore', 'ignore', 'pipe']});
  let log = '';
  child.stderr.on('data', data => { log += data; });
  const address = await until('the program listens', () => {
    if (child.exitCode !== null) throw new Error(log);
    return /serving MCP.*address=(\S+)/.exec(log)?.[1];
  });
  const extensions = {'io.modelcontextprotocol/ui': {mimeTypes: ['text/html;profile=mcp-app']}};
  const client = new Client({name: 'judge', version: '1'}, {capabilities: {extensions}});
  await client.connect(new StreamableHTTPClientTransport(new URL(`http://${address}/mcp`)));
  return {
    client,
    log: () => log,
    async close() {
      await client.close();
      child.kill('SIGTERM');
      if (child.exitCode === null) await within(once(child, 'exit'), 'the end of the program');
    },
  };
}
