// The list of tenants of a process that keeps several mirrors, and the way to one of them and back.

import assert from 'node:assert/strict';
import {until} from './sites.mjs';
import {look} from './stage.mjs';
import {button, titled, word} from './syncs.mjs';

const TABLE = `drop table if exists site_meter; create table site_meter (
  id bigint primary key, tenant_id bigint, name text, type text, serial_number text, active boolean not null default true)`;

const row = (page, tenant) => page.locator('#tenants tbody tr', {hasText: tenant});

async function followsAll({site, visit}) {
  await site.local(TABLE);
  const list = await visit();
  await word(list, 'Never run');
  assert.equal(await row(list, 'Never run').count(), 2);
  await look(list, 'tenants-never-run');

  // What is typed outlives every renewal of the list.
  await list.getByLabel('Name or id').fill('Acm');
  const one = await list.context().newPage();
  await one.goto('/');
  await one.getByRole('link', {name: 'Acme'}).click();
  await one.waitForURL('**/tenants/7/');
  await word(one, 'Never run');
  await button(one, 'Sync now').click();
  await word(one, 'Paused');
  await titled(one, /^Paused – Acme/);
  await look(one, 'tenant-synced');
  await row(list, 'Acme').getByText('Paused').waitFor();
  assert.equal(await list.getByLabel('Name or id').inputValue(), 'Acm');
  assert.deepEqual(await site.local('select tenant_id, count(*) from site_meter group by 1'), [{tenant_id: '7', count: '30'}]);

  await one.getByRole('link', {name: 'All about this run'}).click();
  await one.waitForURL('**/tenants/7/runs/*');
  await one.locator('#run-head h1', {hasText: 'Succeeded'}).waitFor();
  await one.getByRole('link', {name: 'All tenants'}).click();
  await word(one, 'Never run');
  await one.getByRole('navigation', {name: 'Tenants by health'}).getByRole('link', {name: 'Paused'}).click();
  await until('only Acme is listed', async () => await row(one, 'Acme').count() === 1 && await row(one, 'Tenant 8').count() === 0);
  await look(one, 'tenants-filtered');
}

async function needsNoScript({site, visit}) {
  await site.local(TABLE);
  const page = await visit('/', {javaScriptEnabled: false});
  await page.getByLabel('Name or id').fill('acme');
  await button(page, 'Search').click();
  await page.waitForURL('**/?search=acme');
  assert.equal(await row(page, 'Acme').count(), 1);
  assert.equal(await row(page, 'Tenant 8').count(), 0);
  await page.getByRole('link', {name: 'Clear the search'}).click();
  await until('all are listed', async () => await page.locator('#tenants tbody tr').count() === 2);
}

const settings = {METER_SYNC_TENANTS: '7,8', METER_SYNC_LOCAL_TABLE: 'site_meter'};

export const scenarios = [
  {name: 'the list of tenants follows their runs by itself and leads to each of them', settings, play: followsAll},
  {name: 'the list of tenants is searched without scripts', settings, play: needsNoScript},
];
