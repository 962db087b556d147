// The brake: the question, and that only a person's own yes to exactly this plan is one.

import assert from 'node:assert/strict';
import {command, until} from './sites.mjs';
import {look} from './stage.mjs';
import {button, counts, sync, word} from './syncs.mjs';

const active = async site => (await site.local('select count(*) from meter where active'))[0].count;

async function held({site, visit}) {
  const page = await visit();
  await sync(page);
  await site.remote('delete from meter where id > 30');
  await sync(page);
  await word(page, 'Failing');
  await page.getByRole('heading', {name: 'This needs a person'}).waitFor();
  assert.equal(await active(site), '30');
  return page;
}

async function asksAPerson(scene) {
  const {site} = scene;
  const page = await held(scene);
  await look(page, 'brake');
  const yes = button(page, 'Deactivate 15 meters');
  await yes.click();
  assert.equal(await page.evaluate(() => document.activeElement.name), 'sure', 'the browser asks for the tick');
  assert.equal(await active(site), '30');
  await button(page, 'Show all 15 (a preview)').click();
  await page.waitForURL('**/runs/*');
  await page.locator('#run-head h1', {hasText: 'Preview'}).waitFor();
  await page.getByRole('heading', {name: 'This needs a person'}).waitFor();
  assert.equal(await active(site), '30');
  await look(page, 'brake-preview');
  await page.getByLabel('I know these meters').check();
  await yes.click();
  await page.locator('#run-head h1', {hasText: 'Succeeded'}).waitFor();
  assert.equal((await counts(page)).Deactivated, '15');
  assert.equal(await active(site), '15');
  await page.goto('/');
  await word(page, 'Paused');
  assert.equal(await page.getByText('This needs a person').count(), 0);
}

async function isAskedAgain(scene) {
  const {site} = scene;
  const page = await held(scene);
  await page.getByLabel('I know these meters').check();
  await site.remote('delete from meter where id = 2');
  await button(page, 'Deactivate 15 meters').click();
  await page.waitForURL('**/runs/*');
  await page.locator('#run-head h1', {hasText: 'Refused'}).waitFor();
  await button(page, 'Deactivate 16 meters').waitFor();
  assert.equal(await active(site), '30');
  await look(page, 'brake-again');
}

async function keepsTheTick(scene) {
  const {settings} = scene;
  const page = await held(scene);
  const box = page.getByLabel('I know these meters');
  await box.check();
  assert.notEqual(await command(['sync'], settings), 0);
  await until('the next run is there', async () => await page.locator('tbody tr').count() === 3);
  assert(await box.isChecked(), 'a refresh takes no decision away');
  // What was shown is no longer so, which is said, and is shown when the tick is taken back.
  await page.getByText('This has changed since it was shown').waitFor();
  assert(await button(page, 'Deactivate 15 meters').isDisabled());
  await look(page, 'brake-changed');
  await box.uncheck();
  await until('the question is the new one', () => button(page, 'Deactivate 15 meters').isEnabled());
  assert.equal(await page.getByText('This has changed since it was shown').isVisible(), false);
}

export const scenarios = [
  {name: 'the brake asks, takes no yes without a tick, and does what was allowed', play: asksAPerson},
  {name: 'a plan that is another by now is asked about again', play: isAskedAgain},
  {name: 'a refresh keeps the tick of somebody who is deciding', play: keepsTheTick},
];
