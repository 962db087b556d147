// A sync in progress, whoever began it: what it shows, in how many tabs, and what a click does meanwhile.

import assert from 'node:assert/strict';
import {command, until} from './sites.mjs';
import {look} from './stage.mjs';
import {button, counts, sync, titled, word} from './syncs.mjs';

/** Far more than three times what is let through at a time, so that some rows come and others do not. */
const MANY = `insert into meter select id, 7, 'Meter ' || id || repeat('.', 200), 'electricity', 'SN-' || id, true from generate_series(1001, 5000) id`;
const SOME_BYTES = 200_000;

const isRunning = page => page.locator('[data-run]').waitFor();
const hasEnded = page => until('the run has ended', () => page.evaluate(() => !document.querySelector('[data-run]')));
const phase = (page, name) => page.locator('.phases [aria-current=step]', {hasText: name}).waitFor();
const runs = async site => Number((await site.local('select count(*) from meter_sync.meter_sync_log'))[0].count);

async function progresses({site, visit}) {
  await site.remote(MANY);
  site.lines.remote.hold(SOME_BYTES);
  const page = await visit();
  await button(page, 'Sync now').click();
  await isRunning(page);
  await phase(page, 'Read');
  assert(await button(page, 'Syncing…').isDisabled());
  assert(await button(page, 'Preview changes').isDisabled());
  const rows = async () => Number((await page.locator('#rows').innerText()).replace(/\D/g, ''));
  await until('rows are counted', async () => await rows() > 100);
  const seen = await rows();
  assert(seen < 4030, `${seen} rows`);
  const elapsed = page.locator('[data-elapsed]');
  const first = await elapsed.innerText();
  await until('the time goes on', async () => await elapsed.innerText() !== first);
  await look(page, 'running');
  site.lines.remote.hold(2 * SOME_BYTES);
  await until('more rows are counted', async () => await rows() > seen);

  const {run} = await page.locator('[data-run]').evaluate(node => node.dataset);
  await page.goto(`/runs/${run}`);
  await phase(page, 'Read');
  const before = await rows();
  site.lines.remote.hold(3 * SOME_BYTES);
  await until('its rows are counted on its own page, too', async () => await rows() > before);
  const read = page.getByText('Read from the central database');
  assert.equal(await read.count(), 0, 'how many bytes is known in the end');
  await look(page, 'running-run');
  site.lines.remote.open();
  await page.locator('#run-head h1', {hasText: 'Succeeded'}).waitFor();
  await read.waitFor();
  assert.match(await page.locator('#announce').innerText(), /^Succeeded\./);
  assert.equal((await counts(page)).Inserted.replace(/\D/g, ''), '4030');
  await page.goto('/');
  assert.equal((await counts(page)).Inserted.replace(/\D/g, ''), '4030');
  assert(await button(page, 'Sync now').isEnabled());
}

async function isInTwoTabs({site, visit, person}) {
  const context = await person.browse();
  const tabs = [await context.newPage(), await context.newPage(), await visit()];
  for (const tab of tabs.slice(0, 2)) await tab.goto('/');
  site.lines.remote.hold();
  await button(tabs[0], 'Sync now').click();
  for (const tab of tabs) {
    await isRunning(tab);
    assert(await button(tab, 'Syncing…').isDisabled());
  }
  site.lines.remote.open();
  for (const tab of tabs) {
    await hasEnded(tab);
    await word(tab, 'Paused');
    await until('the counts are there', async () => (await counts(tab)).Inserted === '30');
    await titled(tab, /^Paused/);
    assert(await button(tab, 'Sync now').isEnabled());
  }
  assert.match(await tabs[2].locator('#announce').innerText(), /^Paused\./);
}

async function isBegunElsewhere({site, settings, visit}) {
  const page = await visit();
  site.lines.remote.hold();
  const ended = command(['sync'], settings);
  await isRunning(page);
  assert.match(await page.locator('[data-run]').innerText(), /Another process/);
  assert(await button(page, 'Syncing…').isDisabled());
  await look(page, 'running-elsewhere');
  site.lines.remote.open();
  assert.equal(await ended, 0);
  await hasEnded(page);
  await word(page, 'Paused');
  assert.match(await page.locator('#last').innerText(), /command line/);
}

async function isClickedMeanwhile({site, visit}) {
  const page = await visit();
  await until('it is in sync', async () => await page.locator('#word').innerText() === 'In sync');
  site.lines.remote.hold();
  await isRunning(page);
  // Progress is written into the page at once, the title when the page was asked for again.
  await until('the title says it, too', async () => /^In sync, syncing/.test(await page.title()));
  await look(page, 'scheduled');
  const before = await runs(site);
  // as on a page that has not heard of it yet
  await page.evaluate(() => { for (const one of document.querySelectorAll('#actions button')) one.disabled = false; });
  await page.locator('#sync').click();
  await page.waitForURL('**/runs/*');
  assert.equal(await runs(site), before, 'one run, not two');
  await page.getByText('Nothing was started').waitFor();
  await look(page, 'already-running');
  site.lines.remote.open();
  await page.locator('#run-head h1', {hasText: 'No change'}).waitFor();
  assert.match(await page.locator('#run-facts').innerText(), /schedule/);
}

async function waitsForALock({site, visit}) {
  const tabs = [await visit(), await visit()];
  await sync(tabs[0]);
  await site.remote(`update meter set name = 'Hall' where id = 2`);
  await site.local('begin; lock table meter in share mode');
  await button(tabs[0], 'Sync now').click();
  for (const tab of tabs) {
    await isRunning(tab);
    await until('it is past reading', async () => ['Compare', 'Write'].includes(await tab.locator('.phases [aria-current]').innerText()));
  }
  await look(tabs[1], 'locked');
  await site.local('rollback');
  for (const tab of tabs) {
    await hasEnded(tab);
    await until('the counts are there', async () => (await counts(tab)).Updated === '1');
  }
}

async function isAskedForOnce({site, visit}) {
  const page = await visit();
  await sync(page);
  assert.equal(await runs(site), 1);
  await page.reload();
  await page.goBack();
  await page.goForward();
  await word(page, 'Paused');
  assert.equal(await runs(site), 1, 'neither a reload nor the way back asks again');
  // whoever presses twice at once asks for one run
  site.lines.remote.hold();
  await page.evaluate(() => { for (let n = 0; n < 2; n += 1) document.querySelector('#sync').click(); });
  await isRunning(page);
  assert.equal(await runs(site), 2);
  site.lines.remote.open();
  await hasEnded(page);
}

async function needsNoScript({site, visit}) {
  const page = await visit('/', {javaScriptEnabled: false});
  await word(page, 'Never run');
  assert.match(await page.locator('#facts, footer').last().innerText(), /UTC/);
  site.lines.remote.hold();
  await button(page, 'Sync now').click();
  await isRunning(page);
  assert(await button(page, 'Syncing…').isDisabled());
  await page.screenshot({path: 'looks/no-script-running.png', fullPage: true});
  site.lines.remote.open();
  // the page asks again by itself
  await word(page, 'Paused');
  assert.equal((await counts(page)).Inserted, '30');
  await page.setViewportSize({width: 320, height: 640});
  await page.screenshot({path: 'looks/no-script.png', fullPage: true});
  await page.getByRole('link', {name: 'All about this run'}).click();
  await page.locator('#run-head').waitFor();
  assert.equal(await page.getByRole('button', {name: 'Copy as JSON'}).count(), 0, 'what needs scripts is not there');
}

export const scenarios = [
  {name: 'progress is seen from the click on, phase by phase and row by row, to the counts', play: progresses},
  {name: 'a sync shows in every tab and ends in every tab', play: isInTwoTabs},
  {name: 'a sync of another process shows as one in progress', play: isBegunElsewhere},
  {name: 'a click while a scheduled sync is going starts nothing and leads to that one', settings: {METER_SYNC_SCHEDULE: '* * * * * *', METER_SYNC_JITTER: '0s'}, play: isClickedMeanwhile},
  {name: 'a sync that waits for a lock shows where it is, in two tabs', settings: {METER_SYNC_LOCK_TIMEOUT: '60s'}, play: waitsForALock},
  {name: 'a reload, the way back and a double click ask for nothing twice', play: isAskedForOnce},
  {name: 'without scripts forms and a refresh do the same', play: needsNoScript},
];
