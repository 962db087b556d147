// The site the card is judged on, the program over it, and a client of that.

import {Client, StreamableHTTPClientTransport} from '@modelcontextprotocol/client';
import * as shared from './site.mjs';

/** The card's address. */
export const URI = 'ui://meter-sync/status';

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
  return {
    ...site,
    /** As at the start, whatever a scenario made of the tables: 30 meters of tenant 7 on the remote, none here, no run. */
    async reset() {
      await remote('drop table if exists meter; drop table if exists meter_moved; create table meter (like first including all); insert into meter table first');
      await local('rollback');
      await local(`drop schema if exists meter_sync cascade; drop table if exists meter;
        create table meter (id bigint primary key, name text, type text, serial_number text, active boolean not null default true)`);
    },
  };
}

/** `meter-sync serve` with these settings, and a client that shows cards and cannot ask its user. */
export async function serve(settings) {
  const program = await shared.serve({settings});
  const extensions = {'io.modelcontextprotocol/ui': {mimeTypes: ['text/html;profile=mcp-app']}};
  const client = new Client({name: 'judge', version: '1'}, {capabilities: {extensions}});
  await client.connect(new StreamableHTTPClientTransport(new URL(`${program.url}/mcp`)));
  return {
    client,
    async close() {
      await client.close();
      await program.stop();
    },
  };
}
