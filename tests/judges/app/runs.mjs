// What a person does with the card and what then is in the database.

import assert from 'node:assert/strict';
import {until} from './sites.mjs';
import {look} from './stage.mjs';

export const word = card => card.locator('#word').textContent();
export const button = (card, name) => card.getByRole('button', {name, exact: true});
export const idle = card => card.waitForFunction(() => document.querySelector('#running').hidden);

/** The numbers of a section by what they count. */
export const counts = (card, section) => card.locator(`#${section} .counts > div`).evaluateAll(
  all => Object.fromEntries(all.map(one => [one.querySelector('dt').textContent, one.querySelector('dd').textContent])));

/** The changes of a section, all of them, as the lines a reader sees; read at one moment, as a list that was just replaced has no lines. */
async function changes(card, section) {
  const more = card.locator(`#${section} summary`);
  if (await more.count()) await more.click();
  return card.evaluate(section => [...document.querySelectorAll(`#${section} .list > li`)].map(one =>
    [one.querySelector('.row').innerText, ...[...one.querySelectorAll('.fields > li')].map(field => field.innerText).sort()]), section);
}

const ended = (card, outcome) => card.locator('#run .badge', {hasText: outcome}).waitFor();

async function press(card, name) {
  await button(card, name).click();
  await until('it was asked for', () => card.evaluate(() => !document.querySelector('#running').hidden || document.querySelector('#run h2, #plan h2, #trouble .box')));
  await idle(card);
}

async function first({host, card, tool}) {
  const shown = await host.show({card, tool});
  await shown.locator('#refresh').waitFor();
  await shown.waitForFunction(() => document.querySelector('#summary').textContent.startsWith('No sync'));
  return shown;
}

async function synced(scene) {
  const card = await first(scene);
  await press(card, 'Sync now');
  await ended(card, 'Succeeded');
  return card;
}

async function previews(scene) {
  const {site, host} = scene;
  const card = await first(scene);
  assert.equal(await word(card), 'Never run');
  assert(!await card.locator('#state.good').count(), 'never run is not green');
  await look(host, card, 'never-run');
  await press(card, 'Preview changes');
  await card.locator('#plan h2', {hasText: 'Preview'}).waitFor();
  assert.deepEqual(await counts(card, 'plan'),
    {inserted: '30', updated: '0', deactivated: '0', reactivated: '0', unchanged: '0', rejected: '0'});
  assert.match(await card.locator('#plan').innerText(), /Nothing was written/);
  assert.equal((await changes(card, 'plan')).length, 20);
  assert.deepEqual(await site.local('select count(*) from meter'), [{count: '0'}]);
  assert.equal(await word(card), 'Never run');
  await look(host, card, 'preview-first');
}

async function syncs(scene) {
  const {site, host} = scene;
  const card = await synced(scene);
  assert.equal((await counts(card, 'run')).inserted, '30');
  assert.deepEqual(await site.local('select count(*) from meter where active'), [{count: '30'}]);
  await until('the meters are counted', async () => /30 active\s+0 inactive/.test(await card.locator('#facts').innerText()));

  await site.local(`update meter set active = false where id = 10`);
  await site.remote(`update meter set name = 'Hall' where id = 2; update meter set serial_number = null where id = 4;
    delete from meter where id in (6, 8); insert into meter values (62, 7, 'New one', 'heat', 'SN-62')`);
  await press(card, 'Sync now');
  await until('the second run is shown', async () => (await counts(card, 'run')).updated === '2');
  assert.deepEqual(await counts(card, 'run'),
    {inserted: '1', updated: '2', deactivated: '2', reactivated: '1', unchanged: '25', rejected: '0'});
  assert.deepEqual((await changes(card, 'run')).sort(), await logged(site));
  const [local] = await site.local(`select count(*) filter (where active) active, count(*) filter (where not active) inactive from meter`);
  const meters = new RegExp(`${local.active} active\\s+${local.inactive} inactive`);
  await until('the meters are counted', async () => meters.test(await card.locator('#facts').innerText()));
  const [{ended: at}] = await site.local(`select to_char(max(finished_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') ended from meter_sync.meter_sync_log`);
  assert.equal((await card.locator('#run time').getAttribute('datetime')).slice(0, 19), at);
  await look(host, card, 'synced');

  await press(card, 'Sync now');
  await ended(card, 'No change');
  await look(host, card, 'no-change');
}

/** The last run's changes by the log, in the card's words. */
async function logged(site) {
  const rows = await site.local(`select action, key::text, before::text, after::text, m.name
    from meter_sync.meter_sync_change join meter m on m.id::text = key->>'id'
    where run_id = (select id from meter_sync.meter_sync_log order by started_at desc limit 1)`);
  const words = {insert: '+ New', update: '~ Changed', deactivate: '− Deactivated', reactivate: '↑ Reactivated'};
  const text = value => value === null ? 'nothing' : String(value);
  return rows.map(row => {
    const [key, before, after] = [row.key, row.before, row.after].map(json => JSON.parse(json));
    const fields = Object.entries(after).filter(([name]) => !(name in key)).map(([name, value]) =>
      row.action === 'insert' ? `${name} ${text(value)}` : `${name} ${text(before[name])} → ${text(value)}`);
    const called = 'name' in after ? '' : ` ${row.name}`;
    return [`${words[row.action]}\nid ${key.id}${called}`, ...fields.sort()];
  }).sort();
}

async function fails(scene) {
  const {site, host} = scene;
  const card = await synced(scene);
  await site.remote('alter table meter rename to meter_moved');
  await press(card, 'Preview changes');
  await card.locator('#trouble .box').waitFor();
  assert.match(await card.locator('#trouble').innerText(), /REMOTE_SCHEMA/);
  assert.equal(await word(card), 'Paused', 'a preview that fails says nothing of the meters');
  await look(host, card, 'preview-failed');

  await press(card, 'Sync now');
  await until('it fails', async () => await word(card) === 'Failing');
  const [{error_message, error_remedy}] = await site.local(
    `select error_message, error_remedy from meter_sync.meter_sync_log where not dry_run order by started_at desc limit 1`);
  const banner = await card.locator('#state').innerText();
  assert(banner.includes(error_message), `${banner} says ${error_message}`);
  assert(banner.includes(error_remedy), `${banner} says ${error_remedy}`);
  await ended(card, 'Failed');
  assert.deepEqual(await site.local('select count(*) from meter where active'), [{count: '30'}]);
  assert.equal(await card.locator('#trouble .box').count(), 0, 'it is said once');
  await look(host, card, 'failing');
}

async function brakes(scene) {
  const {site, host} = scene;
  const card = await synced(scene);
  await site.remote('delete from meter where tenant_id = 7 and id > 20');
  await press(card, 'Preview changes');
  await card.locator('#plan h2').waitFor();
  assert.match(await card.locator('#plan').innerText(), /Would be refused\s+MASS_DEACTIVATION_REFUSED[\s\S]*20 deactivated.*would be refused/);
  await look(host, card, 'brake-preview');
  await press(card, 'Sync now');
  await until('it is refused', async () => await word(card) === 'Failing');
  await ended(card, 'Refused');
  assert.match(await card.locator('#state').innerText(), /refused[\s\S]*a person approves them/);
  assert.deepEqual(await site.local('select count(*) from meter where active'), [{count: '30'}]);
  await look(host, card, 'brake');
}

async function rejects(scene) {
  const {site, host} = scene;
  await site.local(`alter table meter add constraint short_names check (length(name) < 20)`);
  await site.remote(`update meter set name = 'A name too long for here' where id = 2`);
  const card = await first(scene);
  await press(card, 'Sync now');
  await ended(card, 'Partial');
  assert.equal((await counts(card, 'run')).rejected, '1');
  await card.locator('#run', {hasText: /Rejected\s*id 2\s*.*short_names/}).waitFor();
  await look(host, card, 'partial');
}

const HOSTILE = ['<img src=x onerror=alert(1)>', '</script><script>alert(2)</script>', '\u202egnitset\u202c \u05e9\u05dc\u05d5\u05dd',
  'x'.repeat(300), '{{7*7}}${alert(3)}', '&lt;b&gt;', '\u0001\u0007 "\'`'];

async function shows(scene) {
  const {site, host} = scene;
  await site.remote('delete from meter where id > 20');
  const card = await synced(scene);
  const quoted = text => `e'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
  await site.local(`drop table if exists tenant; create table tenant (id bigint primary key, name text);
    insert into tenant values (7, ${quoted(HOSTILE[0])})`);
  for (const [n, name] of HOSTILE.entries()) await site.remote(`update meter set name = ${quoted(name)} where id = ${2 * n + 2}`);
  await press(card, 'Sync now');
  await until('they are shown', async () => (await counts(card, 'run')).updated === String(HOSTILE.length));
  await changes(card, 'run');
  const seen = await card.locator('#run ins').evaluateAll(all => all.map(one => one.textContent));
  assert.deepEqual(seen.sort(), [...HOSTILE].sort());
  await until('the tenant is shown', async () => await card.locator('#tenant').textContent() === HOSTILE[0]);
  assert.equal(await card.locator('img, main script, main b').count(), 0);
  await look(host, card, 'hostile');
  await site.local(`update tenant set name = 'Acme'`);
}

async function follows(scene) {
  const {site, host} = scene;
  const card = await synced(scene);
  await site.remote(`update meter set name = 'Hall' where id = 2`);
  // A lock on the table would stop the run before it writes.
  await site.local(`create function waits() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock(1); return new; end $$;
    create trigger waits before update on meter for each row execute function waits()`);
  await site.local('begin; select pg_advisory_xact_lock(1)');
  await button(card, 'Sync now').click();
  await card.locator('#progress', {hasText: 'Writing changes'}).waitFor();
  assert.match(await card.locator('#progress').innerText(), /^Writing changes · 1 row · [\d.]+ s$/);
  assert.equal(await button(card, 'Syncing…').getAttribute('aria-disabled'), 'true');
  await host.page.emulateMedia({reducedMotion: 'reduce'});
  assert.equal(await card.locator('.dot').evaluate(dot => getComputedStyle(dot).animationName), 'none');
  await look(host, card, 'running');

  const asked = async () => (await host.host('calls')).length;
  const before = await asked();
  await new Promise(resolve => setTimeout(resolve, 5000));
  const after = await asked();
  assert(after - before >= 2 && after - before <= 3, `${after - before} questions in 5 s`);

  const hide = hidden => card.evaluate(hidden => {
    Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await hide(true);
  const hiddenAt = await asked();
  await new Promise(resolve => setTimeout(resolve, 4500));
  assert.equal(await asked(), hiddenAt, 'nobody looks');
  await hide(false);
  await until('it is looked at again', async () => await asked() > hiddenAt);

  await site.local('commit');
  await until('it ends', async () => (await counts(card, 'run')).updated === '1');
  await idle(card);
  const idleAt = await asked();
  await new Promise(resolve => setTimeout(resolve, 4500));
  assert.equal(await asked(), idleAt, 'nothing to follow');
}

async function goesDown(scene) {
  const {host} = scene;
  const card = await host.show({card: scene.card, tool: scene.tool});
  await until('it says so', async () => await word(card) === 'Failing');
  assert.match(await card.locator('#state').innerText(), /cannot be vouched for/);
  await look(host, card, 'local-down');
}

async function isBare(scene) {
  const {host} = scene;
  const card = await host.show({card: scene.card, tool: scene.tool});
  await until('it says so', async () => await word(card) === 'Not configured');
  assert.match(await card.locator('#state').innerText(), /METER_SYNC_REMOTE_URL/);
  await look(host, card, 'not-configured');
}

async function isReadOnly(scene) {
  const {host, site, client} = scene;
  const {tools} = await client.listTools();
  assert.deepEqual(tools.map(({name}) => name), ['meter_sync_status']);
  const card = await first(scene);
  await button(card, 'Sync now').click();
  await card.locator('#trouble', {hasText: 'read-only'}).waitFor();
  await card.locator('#buttons').waitFor({state: 'hidden'});
  assert.deepEqual(await site.local('select count(*) from meter'), [{count: '0'}]);
  await look(host, card, 'read-only');
}

export const scenarios = [
  {name: 'a site that never ran is not green, and a preview shows the plan and writes nothing', play: previews},
  {name: 'what a sync did is shown as the database has it', play: syncs},
  {name: 'a sync that fails is told with its remedy', play: fails},
  {name: 'a sync that the brake refuses is told as text, as the host cannot ask', play: brakes},
  {name: 'rows that were rejected are told with the reason', play: rejects},
  {name: 'names that are markup, script, control characters or 300 characters long are text', play: shows},
  {name: 'a running sync is followed while somebody looks, and no longer than it runs', settings: {METER_SYNC_LOCK_TIMEOUT: '60s'}, play: follows},
  {name: 'with the local database down the card says what can be said', settings: {METER_SYNC_LOCAL_URL: 'postgres://nobody@127.0.0.1:1/nowhere'}, play: goesDown},
  {name: 'without settings the card says what to set', settings: {METER_SYNC_REMOTE_URL: null, METER_SYNC_LOCAL_URL: null}, play: isBare},
  {name: 'a read-only program is told of, and the buttons go', settings: {METER_SYNC_READ_ONLY: 'true'}, play: isReadOnly},
];
