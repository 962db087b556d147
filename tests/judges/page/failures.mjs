// What goes wrong, what the page says to do, and that it never shows the old as the new.

import assert from 'node:assert/strict';
import {createServer} from 'node:http';
import {once} from 'node:events';
import {command, until} from './sites.mjs';
import {look} from './stage.mjs';
import {button, counts, sync, titled, word} from './syncs.mjs';

const icon = page => page.locator('#favicon').getAttribute('href');
const LOST = /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_TIMED_OUT/;

async function namesTheRemedy({site, visit}) {
  const page = await visit();
  await sync(page);
  site.lines.remote.cut();
  await sync(page);
  await word(page, 'Failing');
  assert.match(await icon(page), /cross-bad/);
  await titled(page, /^Failing – Acme/);
  assert.match(await page.locator('#remedy').innerText(), /What to do/);
  await page.locator('#connections .badge.bad', {hasText: 'Failed'}).waitFor();
  await look(page, 'failing');
  await page.getByRole('link', {name: 'All about this run'}).click();
  await page.locator('#run-head h1', {hasText: 'Failed'}).waitFor();
  await look(page, 'failed-run');
  site.lines.remote.open();
  await sync(page);
  await word(page, 'Paused');
  assert.equal(await page.locator('.bad .badge, .badge.bad').filter({hasText: 'Failing'}).count(), 0);
}

async function standsWithoutTheLocal({site, visit, person}) {
  const page = await visit();
  await sync(page);
  site.lines.local.cut();
  await word(page, 'Failing');
  await page.reload();
  await word(page, 'Failing');
  await look(page, 'local-down');
  person.expect(/status of 503/);
  assert.equal((await page.goto('/runs')).status(), 503);
  await look(page, 'local-down-runs');
  site.lines.local.open();
  await page.goto('/');
  await word(page, 'Paused');
}

async function rejects({site, visit}) {
  await site.local(`alter table meter add check (length(name) < 20)`);
  await site.remote(`update meter set name = 'A name that is longer than this site takes' where id in (2, 4)`);
  const page = await visit();
  await sync(page);
  assert.equal((await counts(page))['Rejected'], '2');
  await page.getByRole('heading', {name: 'Rejected rows'}).waitFor();
  await look(page, 'partial');
  await page.getByRole('link', {name: 'All about this run'}).click();
  await page.locator('#run-head h1', {hasText: 'Partial'}).waitFor();
  assert.equal(await page.locator('.tag.rejected').count(), 2);
  await look(page, 'partial-run');
}

async function greysAndComesBack({program, visit, person}) {
  const page = await visit();
  await sync(page);
  await word(page, 'Paused');
  const run = await page.context().newPage();
  await run.goto(await page.getByRole('link', {name: 'All about this run'}).getAttribute('href'));
  person.expect(LOST);
  const killed = Date.now();
  await program.kill();
  await word(page, 'No connection').catch(() => {});
  await until('it is grey', () => page.evaluate(() => 'gone' in document.documentElement.dataset), 45_000);
  assert(Date.now() - killed < 45_000);
  await titled(page, /^No connection – Paused/);
  assert.match(await icon(page), /gone/);
  assert(await button(page, 'Sync now').isDisabled());
  assert.match(await page.locator('#freshness').innerText(), /no longer/);
  assert.match(await page.locator('#announce').innerText(), /has not answered since/);
  const ago = await page.locator('[data-since]').first().innerText();
  assert(!await page.locator('#remedy').isVisible(), 'no advice from before');
  await look(page, 'gone');
  assert.equal(await page.locator('[data-since]').first().innerText(), ago, 'nothing goes on as if it were known');
  await run.locator('#announce', {hasText: 'has not answered since'}).waitFor();
  await run.bringToFront();
  await look(run, 'gone-run');
  await program.start();
  await word(page, 'Paused');
  await titled(page, /^Paused/);
  assert.doesNotMatch(await icon(page), /gone/);
  await until('it can be pressed', () => button(page, 'Sync now').isEnabled());
  person.expect();
  await sync(page);
  assert.match(await page.locator('#last').innerText(), /No change/);
}

async function greysWhenFrozen({program, visit, person}) {
  const page = await visit();
  await page.clock.install();
  await page.reload();
  await word(page, 'Never run');
  person.expect(LOST);
  program.signal('SIGSTOP');
  try {
    for (let second = 0; second < 45 && await page.locator('#word').innerText() !== 'No connection'; second += 5) {
      await page.clock.runFor(5000);
    }
    await word(page, 'No connection');
  } finally {
    program.signal('SIGCONT');
  }
  await until('it is back', async () => { await page.clock.runFor(1000); return await page.locator('#word').innerText() === 'Never run'; });
}

/** Whatever stands in the way answers in the program's place. */
async function isNotMistaken({program, visit, person}) {
  const page = await visit();
  await sync(page);
  await word(page, 'Paused');
  person.expect(LOST, /status of 50[23]/, /MIME type/);
  const address = new URL(program.url);
  for (const [status, body] of [[502, '<h1>Bad gateway</h1>'], [200, '<title>Hotel WiFi</title><h1>Please pay</h1>']]) {
    await program.kill();
    const other = createServer((_asked, answer) => answer.writeHead(status, {'content-type': 'text/html'}).end(body));
    other.listen(Number(address.port), address.hostname);
    await once(other, 'listening');
    await until(`it is grey at ${status}`, () => page.evaluate(() => 'gone' in document.documentElement.dataset), 45_000);
    await titled(page, /^No connection – Paused/);
    other.close();
    other.closeAllConnections();
    await once(other, 'close');
    await program.start();
    await word(page, 'Paused');
    assert.match(await page.locator('#announce').innerText(), /^meter-sync answers again\. Paused/);
    await until('it is kept', async () => /kept up to date/.test(await page.locator('#freshness').innerText()));
  }
}

async function saysThatTheLocalHangs({site, visit}) {
  const page = await visit();
  await sync(page);
  site.lines.local.hold();
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await word(page, 'Failing');
  assert.match(await page.locator('#facts').innerText(), /Last success/);
  site.lines.local.open();
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await word(page, 'Paused');
}

async function leavesWhatIsInHand({visit}) {
  const page = await visit();
  await sync(page);
  await word(page, 'Paused');
  const refreshed = page.locator('#fresh time');
  const refresh = async () => {
    const at = await refreshed.getAttribute('datetime');
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await until('it was asked for', async () => await refreshed.getAttribute('datetime') !== at);
  };
  // The contents are compared right after the first run, and the page may show that a moment later.
  await page.waitForTimeout(1100);
  await refresh();
  await page.evaluate(() => { window.kept = ['facts', 'last', 'runs'].map(id => document.getElementById(id)); });
  await page.waitForTimeout(1100);
  await refresh();
  assert(await page.evaluate(() => window.kept.every(part => part.isConnected)), 'what has not changed is left alone');
  await page.evaluate(() => getSelection().selectAllChildren(document.querySelector('#last p')));
  await refresh();
  assert.notEqual(await page.evaluate(() => String(getSelection())), '');
}

/** A browser opens few streams at a time, so a window that nobody sees lets go of its own. */
async function letsGoWhenHidden({site, settings, visit}) {
  const page = await visit();
  await until('it is kept', async () => /kept up to date/.test(await page.locator('#freshness').innerText()));
  const turn = hidden => page.evaluate(hidden => {
    Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  const isStream = request => new URL(request.url()).pathname === '/api/v1/events';
  await Promise.all([page.waitForEvent('requestfailed', isStream), turn(true)]);
  assert.equal(await command(['sync'], settings), 0);
  await Promise.all([page.waitForRequest(isStream), turn(false)]);
  await until('it is up to date', async () => (await counts(page)).Inserted === '30');
  await until('it is kept again', async () => /kept up to date/.test(await page.locator('#freshness').innerText()));
  assert.equal((await site.local('select count(*) from meter'))[0].count, '30');
}

async function helpsToSetUp({visit, person}) {
  const page = await visit();
  await word(page, 'Not configured');
  await page.getByRole('heading', {name: 'How to set it up'}).waitFor();
  assert(await button(page, 'Sync now').isDisabled());
  await look(page, 'not-configured');
  person.expect(/status of 503/);
  await page.goto('/runs');
  await look(page, 'not-configured-runs');
  person.expect();
  await page.goto('/connections');
  await Promise.all([page.waitForEvent('framenavigated'), button(page, 'Check both now').click()]);
  await page.getByText('is not set').first().waitFor();
  await look(page, 'not-configured-connections');
}

export const scenarios = [
  {name: 'a remote that does not answer is told with what to do, and is over when it is over', settings: {METER_SYNC_CONNECT_TIMEOUT: '2s'}, play: namesTheRemedy},
  {name: 'without the local database the page still says how it stands', settings: {METER_SYNC_CONNECT_TIMEOUT: '2s'}, play: standsWithoutTheLocal},
  {name: 'rows that were rejected are told with their reasons', play: rejects},
  {name: 'a server that was killed turns the page grey within 45 s, and its return turns it back', play: greysAndComesBack},
  {name: 'a server that is frozen turns the page grey, too', play: greysWhenFrozen},
  {name: 'what answers in its place is not taken for it', play: isNotMistaken},
  {name: 'a local database that hangs is shown as one', settings: {METER_SYNC_CONNECT_TIMEOUT: '20s'}, play: saysThatTheLocalHangs},
  {name: 'a refresh leaves alone what has not changed', play: leavesWhatIsInHand},
  {name: 'a window that nobody sees lets go of its stream, and is fresh when it is seen', play: letsGoWhenHidden},
  {name: 'a site that is not configured is told how to set it up', settings: {METER_SYNC_REMOTE_URL: null, METER_SYNC_LOCAL_URL: null}, play: helpsToSetUp},
];
