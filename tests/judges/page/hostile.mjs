// Names and addresses of somebody who means harm, and more of everything than anybody looks at.

import assert from 'node:assert/strict';
import {look} from './stage.mjs';
import {button, counts, sync} from './syncs.mjs';

const MARKUP = `<img src=x onerror=alert(1)></title></textarea><script>alert(2)</script><style>*{display:none}</style>`;
const NAMES = [MARKUP, '\u202e gnirts desrever \u2066', 'ע'.repeat(60), '"\'&amp;<!--', 'a\nb\tc\u0001', '🧮'.repeat(40), 'W'.repeat(10_000), '', '   ', "javascript:alert(1)", '{{7*7}}'];
const quoted = text => `'${text.replaceAll("'", "''")}'`;

async function isText({site, visit}) {
  await site.remote(NAMES.map((name, n) => `update meter set name = ${quoted(name)}, type = ${quoted(MARKUP)} where id = ${2 * n + 2}`).join(';'));
  await site.local(`update tenant set name = ${quoted(MARKUP + 'W'.repeat(10_000))}`);
  const page = await visit();
  await sync(page);
  const shown = async () => {
    assert.equal(await page.locator('img, main script, main style, textarea').count(), 0, 'no text became markup');
    assert(await page.locator('main').isVisible());
  };
  await shown();
  assert((await page.locator('#last').innerText()).includes(MARKUP));
  assert((await page.title()).length < 400);
  await look(page, 'hostile');
  await page.getByRole('link', {name: 'All about this run'}).click();
  await page.locator('#run-head').waitFor();
  await shown();
  await look(page, 'hostile-run');
  await page.locator('.changes a', {hasText: MARKUP.slice(0, 60)}).first().click();
  await page.locator('#history').waitFor();
  await shown();
  await look(page, 'hostile-meter');
}

async function hasAnyKey({site, visit}) {
  await site.local(`drop table meter; create table meter (
    name text, "a&b=c" text, type text, active boolean not null default true, primary key (name, "a&b=c"))`);
  await site.remote(`drop table meter; create table meter (
    tenant_id bigint, name text, "a&b=c" text, type text, active boolean not null default true, primary key (name, "a&b=c"));
    insert into meter select 7, name, ${quoted('é/?#%00 <b>')}, 'x' from unnest(array[${NAMES.filter(name => name.length < 1000).map(quoted).join(', ')}]) name`);
  const page = await visit();
  await sync(page);
  await page.locator('#last .changes').first().waitFor();
  const links = await page.locator('#last .changes a').evaluateAll(all => all.map(one => one.href));
  assert.equal(links.length, NAMES.length - 1);
  for (const link of links) {
    const answer = await page.goto(link);
    assert.equal(answer.status(), 200, link);
    assert.equal(await page.locator('#meter dt').count(), 4);
  }
  await look(page, 'composite-key');
}

async function isPaged({site, visit}) {
  await site.remote(`insert into meter select id, 7, 'Meter ' || id, 'electricity', 'SN-' || id, true from generate_series(1001, 2000) id`);
  const page = await visit();
  await sync(page);
  await page.locator('#last .changes').first().waitFor();
  assert.match(await page.locator('#last').innerText(), /and 1\D018 more/);
  await page.getByRole('link', {name: 'All about this run'}).click();
  const seen = new Set();
  for (;;) {
    await page.locator('#run-head').waitFor();
    for (const text of await page.locator('.changes a').allInnerTexts()) seen.add(text);
    const more = page.getByRole('link', {name: 'More changes'});
    if (!await more.count()) break;
    const here = page.url();
    await more.click();
    await page.waitForURL(url => url.href !== here);
  }
  assert.equal(seen.size, 1030);
  assert.equal((await counts(page)).Inserted.replace(/\D/g, ''), '1030');
}

async function answersAnyAddress({visit, person, program}) {
  const page = await visit();
  await sync(page);
  person.expect(/status of 4\d\d/);
  const addresses = ['/runs/none', '/runs/00000000-0000-0000-0000-000000000000', '/runs/%00', '/runs/%F0%28', '/runs/a%2Fb', '/runs?before=garbage',
    '/?before=garbage', '/?show=garbage', '/runs?show=%00', '/meters', '/meters?id=999999', '/meters?id=%00', '/meters?nonsense=1',
    '/nowhere', '/runs/x?after=garbage', '/sync', '/sign-out', `/meters?id=${'9'.repeat(5000)}`];
  for (const address of addresses) {
    const answer = await page.goto(address);
    assert.match(answer.headers()['content-type'], /^text\/html/, address);
    assert([400, 404, 405].includes(answer.status()), `${address}: ${answer.status()}`);
    assert(await page.getByRole('heading', {level: 1}).isVisible(), address);
    await page.getByRole('link', {name: 'Back to the status'}).waitFor();
  }
  await page.goto('/runs?before=garbage');
  await look(page, 'odd-address');
  const api = await fetch(`${program.url}/nowhere`);
  assert.match(api.headers.get('content-type'), /problem\+json/, 'a program gets what programs read');
  for (const body of ['', 'do=garbage', 'do=sync&allow=garbage', 'do=sync&allow=00000000-0000-0000-0000-000000000000&sure=yes']) {
    const posted = await fetch(`${program.url}/sync`, {
      method: 'POST', redirect: 'manual', body,
      headers: {origin: program.url, accept: 'text/html', 'content-type': 'application/x-www-form-urlencoded'},
    });
    assert.match(posted.headers.get('content-type'), /^text\/html/, body);
    assert(posted.status >= 400 && posted.status < 500, `${body}: ${posted.status}`);
  }
}

export const scenarios = [
  {name: 'what a database holds is text, whatever it looks like', play: isText},
  {name: 'a meter of any key has its page', play: hasAnyKey},
  {name: 'thousands of changes are seen page by page', play: isPaged},
  {name: 'an address or a form that is none of ours is answered with a page that helps', play: answersAnyAddress},
];
