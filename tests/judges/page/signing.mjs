// Who may look and who may press, and which pages may ask on their behalf.

import assert from 'node:assert/strict';
import {createServer} from 'node:http';
import {once} from 'node:events';
import {until} from './sites.mjs';
import {look} from './stage.mjs';
import {button, sync, word} from './syncs.mjs';

const READ = 'read-secret-0123456789', TRIGGER = 'trigger-secret-0123456789';
const TOKENS = {METER_SYNC_TOKENS: `read:${READ},trigger:${TRIGGER}`};
const REFUSED = /status of 40[13]/;

const runs = async site => {
  const [{exists}] = await site.local(`select to_regclass('meter_sync.meter_sync_log') is not null as exists`);
  return exists === 't' ? Number((await site.local('select count(*) from meter_sync.meter_sync_log'))[0].count) : 0;
};

async function signIn(page, token) {
  await page.getByLabel('Token').fill(token);
  await button(page, 'Sign in').click();
}

async function swapsTheToken({visit, person}) {
  const page = await visit('/runs');
  assert.equal(new URL(page.url()).pathname, '/sign-in');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'token');
  await look(page, 'sign-in');
  person.expect(REFUSED);
  await signIn(page, 'no-token-of-theirs');
  await page.getByRole('alert').waitFor();
  await look(page, 'sign-in-wrong');
  person.expect();
  await signIn(page, TRIGGER);
  await page.waitForURL('**/runs');
  const [cookie, ...others] = await page.context().cookies();
  assert.equal(others.length, 0);
  assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, 'Strict']);
  assert(!cookie.value.includes(TRIGGER));
  assert.equal(await page.evaluate(() => document.cookie + localStorage.length + sessionStorage.length), '00');
  assert(!(await page.content()).includes(TRIGGER));
  await page.goto('/');
  await word(page, 'Never run');
  await look(page, 'signed-in');
  await sync(page);

  // signed out in one tab, the other one is led to the sign-in
  person.expect(REFUSED);
  const other = await page.context().newPage();
  await other.goto('/');
  await button(other, 'Sign out').click();
  await other.waitForURL('**/sign-in');
  await returnTo(page);
  await signIn(page, READ);
  await word(page, 'Paused');
}

/** What a tab does when somebody looks at it again. */
async function returnTo(page) {
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await page.waitForURL('**/sign-in**');
}

async function readsOnly({site, program, visit}) {
  const page = await visit();
  await signIn(page, READ);
  await word(page, 'Never run');
  assert.equal(await page.locator('main button').count(), 0);
  await page.getByText('Read-only: you can look').waitFor();
  await look(page, 'read-token');
  const {name, value} = (await page.context().cookies())[0];
  const answer = await fetch(`${program.url}/sync`, {
    method: 'POST', redirect: 'manual', body: 'do=sync',
    headers: {cookie: `${name}=${value}`, origin: program.url, 'content-type': 'application/x-www-form-urlencoded'},
  });
  assert.equal(answer.status, 403);
  assert.equal(await runs(site), 0);
}

async function isReadOnly({site, program, visit}) {
  const page = await visit();
  await word(page, 'Never run');
  assert.equal(await page.locator('main button').count(), 0);
  await look(page, 'read-only');
  const answer = await fetch(`${program.url}/sync`, {
    method: 'POST', redirect: 'manual', body: 'do=sync',
    headers: {origin: program.url, 'content-type': 'application/x-www-form-urlencoded'},
  });
  assert.equal(answer.status, 403);
  assert.equal(await runs(site), 0);
}

/** A page of somebody else on this machine, which posts our form as it opens. */
async function elsewhere(target) {
  const server = createServer((_request, response) => response.writeHead(200, {'content-type': 'text/html'})
    .end(`<!doctype html><title>evil</title><form method="post" action="${target}/sync"><input name="do" value="sync"></form>
      <script>document.forms[0].submit()</script>`));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {url: `http://127.0.0.1:${server.address().port}/`, close: () => { server.closeAllConnections(); server.close(); }};
}

async function obeysItsOwnPages({site, program, visit, person}) {
  const page = await visit();
  await signIn(page, TRIGGER);
  await word(page, 'Never run');
  person.expect(/./);
  const evil = await elsewhere(program.url);
  try {
    for (const url of [evil.url, evil.url.replace('127.0.0.1', 'localhost')]) {
      const tab = await page.context().newPage();
      const answer = tab.waitForResponse(response => response.url() === `${program.url}/sync`);
      await tab.goto(url).catch(() => {});
      assert.equal((await answer).status(), 403, url);
      await tab.close();
    }
  } finally {
    evil.close();
  }
  const [{name, value}] = await page.context().cookies();
  for (const origin of [undefined, 'null', 'http://localhost:1', program.url.replace('127.0.0.1', 'localhost')]) {
    const answer = await fetch(`${program.url}/sync`, {
      method: 'POST', redirect: 'manual', body: 'do=sync',
      headers: {cookie: `${name}=${value}`, 'content-type': 'application/x-www-form-urlencoded', ...(origin && {origin})},
    });
    assert.equal(answer.status, 403, `${origin}`);
  }
  assert.equal(await runs(site), 0);
}

async function leadsToTheSignIn({visit, person}) {
  const page = await visit();
  await signIn(page, TRIGGER);
  await word(page, 'Never run');
  person.expect(REFUSED);
  await page.context().clearCookies();
  await returnTo(page);
  await signIn(page, TRIGGER);
  await until('it is where it was', async () => new URL(page.url()).pathname === '/');
  await word(page, 'Never run');
  await page.context().clearCookies();
  await page.evaluate(() => document.querySelector('#sync').click());
  // The form leads there, and so does the script if it notices first: one of them is then aborted.
  await until('it is asked to sign in', async () => new URL(page.url()).pathname === '/sign-in');
}

export const scenarios = [
  {name: 'a token is swapped for a cookie that scripts and other sites do not have', settings: TOKENS, play: swapsTheToken},
  {name: 'a token that only reads has no buttons, and its posts are refused', settings: TOKENS, play: readsOnly},
  {name: 'a site that is read-only has no buttons, and posts are refused', settings: {METER_SYNC_READ_ONLY: 'true'}, play: isReadOnly},
  {name: 'a post from another site, another port, or from nowhere is refused', settings: TOKENS, play: obeysItsOwnPages},
  {name: 'a cookie that ends while the page is open leads to the sign-in', settings: TOKENS, play: leadsToTheSignIn},
];
