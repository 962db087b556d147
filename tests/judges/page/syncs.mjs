// What a person does with the page on a good day, and what then is in the database.

import assert from 'node:assert/strict';
import {until} from './sites.mjs';
import {look} from './stage.mjs';

export const button = (page, name) => page.getByRole('button', {name, exact: true});
export const word = (page, text) => page.locator('#word', {hasText: text}).waitFor();

/** The numbers by what they count. */
export const counts = page => page.locator('.counts > div').evaluateAll(
  all => Object.fromEntries(all.map(one => [one.querySelector('dt').textContent, one.querySelector('dd').textContent])));

/** A sync to its end, with the status on the page afterwards. */
export async function sync(page) {
  await page.goto('/');
  // The form leads to the same address, so the address does not tell that the new page is here.
  await Promise.all([page.waitForEvent('framenavigated'), button(page, 'Sync now').click()]);
  await page.locator('#last').waitFor();
  await until('the run has ended', () => page.evaluate(() => !document.querySelector('[data-run]')));
}

const CHANGED = `update meter set name = 'Hall' where id = 2; update meter set serial_number = null where id = 4;
  delete from meter where id in (6, 8); insert into meter values (62, 7, 'New one', 'heat', 'SN-62')`;

async function begins({site, visit}) {
  const page = await visit();
  await word(page, 'Never run');
  assert.equal(await page.title(), 'Never run – Acme – meter-sync');
  assert.match(await page.locator('#favicon').getAttribute('href'), /dots-calm/);
  await page.getByRole('heading', {name: 'How to begin'}).waitFor();
  await look(page, 'never-run');

  await button(page, 'Preview changes').click();
  await page.waitForURL('**/runs/*');
  await page.locator('#run-head h1', {hasText: 'Preview'}).waitFor();
  assert.equal((await counts(page))['Would insert'], '30');
  assert.deepEqual(await site.local('select count(*) from meter'), [{count: '0'}]);
  await look(page, 'preview');

  await page.getByRole('link', {name: 'Back to the status'}).click();
  await word(page, 'Never run');
  await sync(page);
  await word(page, 'Paused');
  assert.equal((await counts(page)).Inserted, '30');
  assert.deepEqual(await site.local('select count(*) from meter where active'), [{count: '30'}]);
  await titled(page, /^Paused – Acme/);
  assert.match(await page.locator('#favicon').getAttribute('href'), /pause-calm/);
  await look(page, 'synced');
}

async function tells({site, visit}) {
  const page = await visit('/', {permissions: ['clipboard-read', 'clipboard-write']});
  await sync(page);
  await site.local('update meter set active = false where id = 10');
  await site.remote(CHANGED);
  await sync(page);
  await until('the second run is shown', async () => (await counts(page)).Updated === '2');
  await look(page, 'changes');

  await page.getByRole('link', {name: 'All about this run'}).click();
  await page.locator('#run-head').waitFor();
  assert.deepEqual(await counts(page), {Inserted: '1', Updated: '2', Deactivated: '2', Reactivated: '1', Unchanged: '25', 'Rejected': '0'});
  const hall = page.locator('.changes > li', {hasText: 'Hall'});
  assert.match((await hall.innerText()).replace(/\s+/g, ' '), /name Meter 2 → becomes Hall/);
  await button(page, 'Copy as JSON').click();
  await button(page, 'Copied').waitFor();
  const copied = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
  assert.equal(copied.run.counts.updated, 2);
  await look(page, 'run');
  await hall.getByRole('link').click();
  await page.locator('#history').waitFor();
  assert.equal(await page.locator('#history .changes > li').count(), 2);
  await look(page, 'meter');
}

export const scenarios = [
  {name: 'a site that never ran helps to begin, previews without writing, and syncs', play: begins},
  {name: 'what changed is told field by field, and of each meter what was done to it', play: tells},
];

/** Waits until the page has a title like this; it can follow what the page shows. */
export const titled = (page, like) => until(`the title is like ${like}`, async () => like.test(await page.title()));
