// How the page is read: by keys, at any width and size, in any time zone, without motion, with a long history.

import assert from 'node:assert/strict';
import {command, until} from './sites.mjs';
import {fits, look} from './stage.mjs';
import {button, sync, word} from './syncs.mjs';

/** Hourly runs of three days and what they changed, with one of each outcome among them. */
const HISTORY = `
  update meter_sync.meter_sync_log set started_at = date_trunc('hour', now()) - interval '19 hours 25 minutes', outcome = 'dry_run', dry_run = true;
  update meter_sync.meter_sync_log set finished_at = started_at + interval '900 ms';
  insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at, finished_at, outcome,
    inserted, updated, deactivated, reactivated, unchanged, rejected, error_code, error_message, error_remedy, remote_bytes)
  select gen_random_uuid(), tenant, local_table, 'schedule', slot + interval '7 s', slot + (7700 + n * 7919 % 4000) * interval '1 ms', ended,
    case when ended = 'succeeded' then n * 31 % 6 else 0 end, case when ended in ('succeeded', 'partial') then 1 + n * 17 % 23 else 0 end,
    case when ended = 'succeeded' and n % 4 = 0 then 2 else 0 end, case when n = 39 then 9 else 0 end, 200,
    case when ended = 'partial' then 2 else 0 end,
    case when ended = 'failed' then 'REMOTE_UNREACHABLE' end, case when ended = 'failed' then 'The central database did not answer.' end,
    case when ended = 'failed' then 'Check the network.' end, 20000
  from (select tenant, local_table from meter_sync.meter_sync_log limit 1) log, generate_series(0, 70) n,
    lateral (select date_trunc('hour', now()) - n * interval '1 hour') at (slot),
    lateral (select case when n = 31 then 'failed' when n = 25 then 'refused' when n = 22 then 'interrupted' when n = 14 then 'partial'
      when n % 3 = 0 then 'succeeded' else 'no_change' end) of (ended)
  where n not in (10, 11);
  insert into meter_sync.meter_sync_slot (tenant, local_table, slot, claimed_by, schedule)
  select tenant, local_table, date_trunc('hour', now()) - n * interval '1 hour', 'site pid 1 x', '0 * * * * UTC'
  from (select tenant, local_table from meter_sync.meter_sync_log limit 1) log, generate_series(0, 70) n where n not in (10, 11)
  on conflict (tenant, local_table, slot) do update set schedule = excluded.schedule;
  insert into meter_sync.meter_sync_change (run_id, n, action, key, before, after)
  select id, n, action, key::jsonb, before::jsonb, after::jsonb from (select id from meter_sync.meter_sync_log order by started_at desc limit 1) last, (values
    (1, 'deactivate', '{"id": 44}', '{"active": true}', '{"active": false}'), (2, 'deactivate', '{"id": 46}', '{"active": true}', '{"active": false}'),
    (3, 'update', '{"id": 12}', '{"name": "Meter 12", "serial_number": "SN-12"}', '{"name": "Boiler house, north", "serial_number": "SN-12-B"}'))
    of (n, action, key, before, after)`;

/** A site with a schedule syncs as it starts; after that comes the past. */
async function withPast({site, program, visit}) {
  const page = await visit();
  await word(page, 'In sync');
  await until('nothing runs', () => page.evaluate(() => !document.querySelector('[data-run]')));
  await page.goto('about:blank');
  // the program knows by heart what it did itself
  await program.kill();
  await site.local(HISTORY);
  await program.start();
  await page.goto('/');
  return page;
}

async function hasAPast(scene) {
  const page = await withPast(scene);
  await word(page, 'In sync');
  assert.match(await page.locator('#favicon').getAttribute('href'), /check-good/);
  assert.equal(await page.locator('#strip a').count(), 48);
  assert.equal(await page.locator('#strip .missed').count(), 1);
  const legend = await page.locator('.legend').first().innerText();
  for (const name of ['Succeeded', 'No change', 'Partly', 'Failed', 'Refused', 'Interrupted', 'Preview', 'Missed slot']) assert(legend.includes(name), name);
  await look(page, 'history');

  await page.getByRole('link', {name: 'Problems'}).click();
  await page.waitForURL('**show=problems**');
  const outcomes = await page.locator('tbody .badge').allInnerTexts();
  assert.deepEqual(outcomes.map(text => text.trim()).sort(), ['Failed', 'Interrupted', 'Partly', 'Refused']);
  await page.getByRole('link', {name: 'With changes'}).click();
  await page.waitForURL('**show=changes**');
  assert(!(await page.locator('tbody .badge').allInnerTexts()).some(text => text.trim() === 'No change'));
  await page.getByRole('link', {name: 'All', exact: true}).click();
  const seen = new Set();
  for (const rows of [12, 50, 8]) {
    assert.equal(await page.locator('tbody tr').count(), rows);
    for (const link of await page.locator('tbody a').evaluateAll(all => all.map(one => one.href))) seen.add(link);
    if (rows === 50) await look(page, 'runs');
    const older = page.getByRole('link', {name: 'Older runs'});
    if (rows > 8) await Promise.all([page.waitForURL('**before=**'), older.click()]);
    await until('the next page is there', async () => !seen.has(await page.locator('tbody a').first().evaluate(one => one.href)) || rows === 8);
  }
  assert.equal(seen.size, 70, 'every run is on one page');
}

async function obeysKeys(scene) {
  const {site} = scene;
  const page = await withPast(scene);
  const {keyboard} = page;
  const at = () => page.evaluate(() => {
    const node = document.activeElement;
    const {outlineStyle, outlineWidth} = getComputedStyle(node);
    return {text: node.textContent.trim(), strip: !!node.closest('#strip'), label: node.getAttribute('aria-label'), ring: `${outlineStyle} ${outlineWidth}`};
  });
  const stops = [];
  do {
    await keyboard.press('Tab');
    stops.push(await at());
  } while (stops.length < 80 && !stops.at(-1).text.startsWith('Metrics'));
  assert.deepEqual(stops.slice(0, 4).map(({text}) => text), ['Skip to the content', 'meter-sync', 'Sync now', 'Preview changes']);
  for (const {text, ring} of stops) assert.equal(ring, 'solid 3px', `${text} shows that it has the focus`);
  assert.equal(stops.filter(({strip}) => strip).length, 1, 'the strip is one stop');

  await page.locator('#strip a[tabindex="0"]').focus();
  const last = await at();
  await keyboard.press('ArrowLeft');
  const previous = await at();
  assert(previous.strip && previous.label !== last.label, JSON.stringify([last, previous]));
  await keyboard.press('ArrowRight');
  assert.equal((await at()).label, last.label);
  await keyboard.press('ArrowRight');
  assert.equal((await at()).label, last.label, 'it stays within');
  const pointed = page.locator('#pointed');
  assert.equal(await pointed.textContent(), last.label, 'who sees it is told, too');
  for (let bars = 0; bars < 48 && !/missed/.test((await at()).label); bars += 1) await keyboard.press('ArrowLeft');
  const gap = await at();
  assert.match(gap.label, /^2 slots missed from/);
  assert.equal(gap.ring, 'solid 3px');
  assert.equal(await pointed.textContent(), gap.label);
  await site.local(`update meter_sync.meter_sync_log set finished_at = finished_at + interval '3 s' where trigger = 'schedule'`);
  const before = await page.locator('#strip a').first().getAttribute('aria-label');
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await until('the strip was refreshed', async () => await page.locator('#strip a').first().getAttribute('aria-label') !== before);
  assert.equal((await at()).label, gap.label, 'the focus stays on the gap');
  assert.equal(await pointed.textContent(), gap.label);
  await keyboard.press('Home');
  assert(await page.locator('#strip a').first().evaluate(node => node === document.activeElement));
  // a refresh leaves the focus where it was
  await site.local(`update meter_sync.meter_sync_log set finished_at = finished_at + interval '7 s' where trigger = 'schedule'`);
  const {label} = await at();
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await until('the strip was refreshed', async () => await page.locator('#strip a').first().getAttribute('aria-label') !== label);
  assert(await page.locator('#strip a').first().evaluate(node => node === document.activeElement));
  assert.equal(await page.locator('#strip a[tabindex="0"]').count(), 1);
  await keyboard.press('End');
  await keyboard.press('Enter');
  await page.waitForURL('**/runs/*');

  await page.goto('/');
  await keyboard.press('Tab');
  await keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await keyboard.press('Tab');
  await keyboard.press('Tab');
  assert.equal((await at()).text, 'Preview changes');
  await keyboard.press('Space');
  await page.waitForURL('**/runs/*');
}

async function isOfAnyPlace({visit, person}) {
  const first = await visit();
  await sync(first);
  const zones = [['Pacific/Auckland', 'en-NZ'], ['America/St_Johns', 'de-DE'], ['Asia/Kathmandu', 'ar-EG'], ['UTC', 'ja-JP']];
  for (const [timezoneId, locale] of zones) {
    const page = await visit('/', {timezoneId, locale});
    const time = page.locator('#last time');
    const iso = await time.getAttribute('datetime');
    const local = new Intl.DateTimeFormat(locale, {dateStyle: 'medium', timeStyle: 'medium', timeZone: timezoneId}).format(new Date(iso));
    assert.equal((await time.innerText()).replace(/\s/g, ' '), local.replace(/\s/g, ' '));
    assert.equal(await time.getAttribute('title'), `${iso.slice(0, 19).replace('T', ' ')} UTC`);
    assert.doesNotMatch(await page.locator('main').innerText(), /UTC/, 'no time is left in UTC');
    await page.close();
  }
  // Ages are told by the server's clock, however wrong the reader's is.
  for (const hours of [-1, 1]) {
    const page = await (await person.browse()).newPage();
    await page.clock.install({time: Date.now() + hours * 3_600_000});
    await page.goto('/');
    await page.clock.runFor(2000);
    assert.match(await page.locator('#last [data-since]').innerText(), /^(\d+ s|[0-5] min \d+ s) ago$/);
    assert.doesNotMatch(await page.locator('#last [data-since]').innerText(), /^0 s/);
    await page.close();
  }
  const moved = await visit('/', {timezoneId: 'Asia/Kathmandu', locale: 'ar-EG'});
  await look(moved, 'zone');
}

async function isOfAnySize({site, visit}) {
  const page = await visit();
  await sync(page);
  await site.local(HISTORY);
  await page.goto('/');
  for (const width of [320, 375, 550, 768, 1100, 1920]) {
    await page.setViewportSize({width, height: 700});
    await fits(page, 'status');
  }
  // 1280 px at 200 % and at 400 %
  const zoomed = await visit('/', {viewport: {width: 640, height: 400}, deviceScaleFactor: 2});
  await fits(zoomed, 'at 200 %');
  await zoomed.screenshot({path: 'looks/zoom-200.png', fullPage: true});
  const still = await visit('/', {reducedMotion: 'reduce', forcedColors: 'active'});
  site.lines.remote.hold();
  await button(still, 'Sync now').click();
  await still.locator('.dot').waitFor();
  assert.equal(await still.evaluate(() => document.getAnimations().length), 0, 'nothing moves');
  await still.screenshot({path: 'looks/forced-colours.png', fullPage: true});
  site.lines.remote.open();
}

async function ages({site, settings, visit}) {
  assert.equal(await command(['sync'], {...settings, METER_SYNC_READ_ONLY: null}), 0);
  const page = await visit();
  for (const [hours, name, shape] of [[0.05, 'In sync', 'check-good'], [1.2, 'Overdue', 'clock-warn'], [30, 'Stale', 'alert-warn']]) {
    await site.local(`delete from meter_sync.meter_sync_log`);
    await site.local(`insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at, finished_at, outcome)
      values (gen_random_uuid(), '7', 'public.meter', 'schedule', now() - ${hours} * interval '1 hour', now() - ${hours} * interval '1 hour', 'succeeded')`);
    // what others write into the log is noticed within the minute, and now by asking
    await page.goto('/');
    await word(page, name);
    await until('the icon follows', async () => (await page.locator('#favicon').getAttribute('href')).includes(shape));
    assert.match(await page.title(), new RegExp(`^${name}`));
    await look(page, `health-${shape.split('-')[0]}`);
  }
}

const HOURLY = {METER_SYNC_SCHEDULE: '0 * * * *', METER_SYNC_JITTER: '0s'};

export const scenarios = [
  {name: 'a long past is a strip, a chart and a table with filters', settings: HOURLY, play: hasAPast},
  {name: 'keys reach everything, the strip is one stop, and a refresh leaves the focus', settings: HOURLY, play: obeysKeys},
  {name: 'times are those of the reader, with UTC on hover', play: isOfAnyPlace},
  {name: 'a copy that ages turns from in sync to overdue to stale', settings: {METER_SYNC_SCHEDULE: '0 * * * *', METER_SYNC_READ_ONLY: 'true'}, play: ages},
  {name: 'the page fits any width and size, and keeps still for who wants that', play: isOfAnySize},
];
