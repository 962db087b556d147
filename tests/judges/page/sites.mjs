// The site the page is judged on, and the program over it, with a line to each database that can be broken.

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {createInterface} from 'node:readline';
import {relay} from './relay.mjs';
import * as shared from './site.mjs';

const children = new Set();
process.on('exit', () => children.forEach(child => child.kill('SIGKILL')));

/** Waits until `look` gives something true. */
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
  const site = await shared.openSite();
  const {remote, local} = site;
  const lines = {remote: await relay(site.settings.METER_SYNC_REMOTE_URL), local: await relay(site.settings.METER_SYNC_LOCAL_URL)};
  return {
    ...site,
    lines,
    settings: {...site.settings, METER_SYNC_REMOTE_URL: lines.remote.url, METER_SYNC_LOCAL_URL: lines.local.url},
    /** As at the start, whatever a scenario made of it: 30 meters of tenant 7 on the remote, none here, no run. */
    async reset() {
      for (const line of Object.values(lines)) line.open();
      await remote('select pg_terminate_backend(pid) from pg_stat_activity where datname is not null and pid <> pg_backend_pid()');
      await remote(`drop table if exists meter; create table meter (like first including all); insert into meter table first`);
      await local('rollback');
      await local('select pg_terminate_backend(pid) from pg_stat_activity where datname is not null and pid <> pg_backend_pid()');
      await local(`drop schema if exists meter_sync cascade; drop table if exists meter;
        create table meter (id bigint primary key, name text, type text, serial_number text, active boolean not null default true);
        update tenant set name = 'Acme'`);
    },
    async close() {
      for (const line of Object.values(lines)) line.close();
      await site.close();
    },
  };
}

const environment = settings => Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== null));

function start(args, settings, stdio) {
  const child = spawn(shared.PROGRAM, args, {env: environment(settings), stdio});
  const ended = once(child, 'exit');
  children.add(child);
  ended.then(() => children.delete(child));
  return {child, ended};
}

/** `meter-sync serve` with these settings; a setting that is null is not set. */
export async function serve(settings) {
  let listen = '127.0.0.1:0', running;
  const program = {
    url: null,
    async start() {
      running = start(['serve'], {...settings, METER_SYNC_LISTEN: listen}, ['ignore', 'ignore', 'pipe']);
      const log = createInterface(running.child.stderr);
      const address = new Promise((resolve, reject) => {
        log.on('line', line => {
          const found = /serving MCP.* address=(\S+)/.exec(line);
          if (found) resolve(found[1]);
        });
        log.on('close', () => reject(new Error('the program ended before it listened')));
      });
      listen = await shared.within(address, "the program's start");
      program.url = `http://${listen}`;
    },
    signal: name => running.child.kill(name),
    /** Ends it by a signal that leaves it no word. */
    async kill() {
      running.child.kill('SIGKILL');
      await shared.within(running.ended, "the program's end");
    },
  };
  await program.start();
  return program;
}

/** A command of the program; what it gives is its exit code. */
export const command = (args, settings) => start(args, settings, 'ignore').ended.then(([code]) => code);
