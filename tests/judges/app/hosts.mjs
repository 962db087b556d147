// What hosts do: how they find the card, theme it, limit it, speak to it and close it.

import assert from 'node:assert/strict';
import {RESOURCE_MIME_TYPE, getToolUiResourceUri} from '@modelcontextprotocol/ext-apps/app-bridge';
import {button, counts, idle, word} from './runs.mjs';
import {URI, until} from './sites.mjs';
import {look} from './stage.mjs';

const STATUS = 'meter_sync_status', TRIGGER = 'meter_sync_trigger';

async function isFound({client}) {
  const {tools} = await client.listTools();
  assert.deepEqual(tools.map(getToolUiResourceUri), [URI, URI]);
  const {resources} = await client.listResources();
  const listed = resources.find(({uri}) => uri === URI);
  const {contents: [read]} = await client.readResource({uri: URI});
  for (const {mimeType, _meta: {ui}} of [listed, read]) {
    assert.equal(mimeType, RESOURCE_MIME_TYPE);
    assert.deepEqual(ui, {csp: {connectDomains: [], resourceDomains: []}, prefersBorder: true});
  }
  assert(read.text.length <= 25_000, `${read.text.length} characters`);
}

const ground = card => card.evaluate(() => getComputedStyle(document.body).backgroundColor);

async function isThemed({host, card: given, tool}) {
  const card = await host.show({card: given, tool, context: {theme: 'dark', safeAreaInsets: {top: 40, right: 0, bottom: 0, left: 8}}});
  await until('the status is there', async () => await word(card) === 'Never run');
  const dark = await ground(card);
  assert.equal(await card.evaluate(() => getComputedStyle(document.body).borderWidth), '40px 0px 0px 8px');
  await host.host('context', {theme: 'light'});
  await until('it is light', async () => await ground(card) !== dark);
  assert.equal(await ground(card), 'rgb(255, 255, 255)');

  const variables = {
    '--color-background-primary': 'light-dark(#fdf6e3, #002b36)', '--color-text-primary': 'light-dark(#073642, #eee8d5)',
    '--color-background-secondary': 'light-dark(#eee8d5, #073642)', '--color-text-secondary': 'light-dark(#4d5f66, #a9b7b7)',
    '--color-background-inverse': 'light-dark(#073642, #eee8d5)', '--color-text-inverse': 'light-dark(#fdf6e3, #002b36)',
    '--color-border-secondary': 'light-dark(#d5cfba, #1c4a55)', '--font-sans': '"Host Sans", serif', '--border-radius-md': '2px',
  };
  await host.host('context', {styles: {variables, css: {fonts: '@font-face { font-family: "Host Sans"; src: local("DejaVu Serif"); }'}}});
  await until('it has the colours of the host', async () => await ground(card) === 'rgb(253, 246, 227)');
  await host.host('context', {theme: 'dark'});
  await until('it has its dark ones', async () => await ground(card) === 'rgb(0, 43, 54)');
  assert.match(await card.evaluate(() => getComputedStyle(document.body).fontFamily), /Host Sans/);
  await look(host, card, 'themed');

  const half = await host.show({card: given, tool, context: {theme: 'light', styles: {variables: {'--color-background-primary': '#000'}}}});
  await until('the status is there', async () => await word(half) === 'Never run');
  assert.equal(await ground(half), 'rgb(255, 255, 255)', 'a ground without its ink is not taken');
}

async function mayNotCall({host, card: given, client}) {
  await client.callTool({name: TRIGGER, arguments: {}});
  const result = await client.callTool({name: STATUS, arguments: {include_changes: true}});
  const card = await host.show({card: given, capabilities: {}, result});
  await until('the result is shown', async () => await word(card) === 'Paused');
  assert.equal(await card.getByRole('button').count(), 0);
  assert.equal((await counts(card, 'run')).inserted, '30');
  assert.deepEqual(await host.host('calls'), []);
  await look(host, card, 'no-tools');
}

async function opensWithARun({host, card: given, tool, client, site}) {
  const result = await client.callTool({name: TRIGGER, arguments: {}});
  const bare = await host.show({card: given, capabilities: {}, result});
  await until('the run is shown', async () => await word(bare) === 'Succeeded');
  assert.equal((await counts(bare, 'run')).inserted, '30');
  await look(host, bare, 'run-alone');

  await site.remote(`update meter set name = 'Hall' where id = 2`);
  const plan = await client.callTool({name: TRIGGER, arguments: {dry_run: true}});
  const card = await host.show({card: given, tool, input: {dry_run: true}, result: plan});
  await until('the status is asked for', async () => await word(card) === 'Paused');
  assert.equal((await counts(card, 'plan')).updated, '1');
  assert.equal((await counts(card, 'run')).inserted, '30');
  const [{name, arguments: asked}] = await host.host('calls');
  assert.deepEqual([name, asked.include_changes], [STATUS, true]);
  await look(host, card, 'preview');

  await site.remote('alter table meter rename to meter_moved');
  const failed = await client.callTool({name: TRIGGER, arguments: {}});
  assert(failed.isError);
  const error = await host.show({card: given, capabilities: {}, result: failed});
  await error.locator('#trouble', {hasText: 'REMOTE_SCHEMA'}).waitFor();
  await look(host, error, 'error-alone');
}

async function keepsToTheRunAskedAbout({host, card: given, tool, client, site}) {
  const {structuredContent: {run_id}} = await client.callTool({name: TRIGGER, arguments: {}});
  await site.remote(`update meter set name = 'Hall' where id = 2`);
  await client.callTool({name: TRIGGER, arguments: {}});
  const input = {run_id, include_changes: true};
  const result = await client.callTool({name: STATUS, arguments: input});
  const card = await host.show({card: given, tool, input, result});
  await card.locator('#run h2', {hasText: 'The run asked about'}).waitFor();
  await until('it is asked again', async () => (await host.host('calls')).some(call => call.arguments.run_id === run_id));
  assert.equal((await counts(card, 'run')).inserted, '30');
}

async function obeysKeys({host, card: given, tool}) {
  const card = await host.show({card: given, tool});
  await until('the status is there', async () => await word(card) === 'Never run');
  const {keyboard} = host.page;
  const focused = () => card.evaluate(() => {
    const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);
    return {text: document.activeElement.textContent, outline: `${outlineStyle} ${outlineWidth}`};
  });
  await until('a key leads to Sync now', async () => { await keyboard.press('Tab'); return (await focused()).text === 'Sync now'; });
  assert.equal((await focused()).outline, 'solid 2px');
  await keyboard.press('Tab');
  assert.deepEqual(await focused(), {text: 'Preview changes', outline: 'solid 2px'});
  await keyboard.press('Enter');
  await card.locator('#plan h2').waitFor();
  await idle(card);
  assert.equal((await focused()).text, 'Preview changes', 'the focus stays');
  await keyboard.press('Tab');
  assert.match((await focused()).text, /^Show \d+ more$/);
  await keyboard.press('Enter');
  assert.equal(await card.locator('#plan .list > li:visible').count(), 20);
  await keyboard.press('Shift+Tab');
  await keyboard.press('Shift+Tab');
  assert.equal((await focused()).text, 'Sync now');
  await look(host, card, 'keys');
  await button(card, 'Sync now').focus();
  await keyboard.press('Space');
  await card.locator('#run .badge', {hasText: 'Succeeded'}).waitFor();
}

async function speaksOnlyToItsHost({host, card: given, tool}) {
  const card = await host.show({card: given, tool});
  await until('the status is there', async () => await word(card) === 'Never run');
  const {info, can} = await host.host('app');
  assert.equal(info.name, 'meter-sync status');
  assert.deepEqual(can.availableDisplayModes, ['inline', 'fullscreen']);
  await host.host('ping');

  const lie = {jsonrpc: '2.0', method: 'ui/notifications/tool-result', params: {structuredContent: {health: 'ok', summary: 'All is well.', warnings: []}}};
  await card.evaluate(lie => window.postMessage(lie, '*'), lie);
  await host.page.evaluate(lie => {
    const other = document.body.appendChild(document.createElement('iframe'));
    other.contentWindow.eval(`parent.frames[0].frames[0].postMessage(${JSON.stringify(lie)}, '*')`);
  }, lie);
  await host.host('ping');
  assert.equal(await word(card), 'Never run');

  await host.host('cancelled', 'the user said no');
  await card.locator('#trouble', {hasText: 'the user said no'}).waitFor();
  await host.host('teardown');
  const asked = (await host.host('calls')).length;
  assert.equal(await card.getByRole('button').count(), 0);
  await card.evaluate(() => document.querySelector('#sync').click());
  await new Promise(resolve => setTimeout(resolve, 500));
  assert.equal((await host.host('calls')).length, asked, 'it is over');
}

async function bearsARefusingHost({host, card: given, tool}) {
  const refuse = async call => call.name === TRIGGER ? {error: {code: -32000, message: 'The user did not allow it.'}} : tool(call);
  const card = await host.show({card: given, tool: refuse});
  await until('the status is there', async () => await word(card) === 'Never run');
  await button(card, 'Sync now').click();
  await card.locator('#trouble', {hasText: 'The user did not allow it.'}).waitFor();
  await idle(card);
  assert.equal(await button(card, 'Sync now').getAttribute('aria-disabled'), 'false');
  const unknown = async call => call.name === TRIGGER ? {error: {code: -32602, message: 'There is no such tool.'}} : tool(call);
  const other = await host.show({card: given, tool: unknown});
  await button(other, 'Preview changes').click();
  await other.locator('#buttons').waitFor({state: 'hidden'});
  const silent = await host.show({card: given, tool: async () => ({error: {code: -32000, message: 'The server is gone.'}})});
  await silent.locator('#trouble', {hasText: 'The server is gone.'}).waitFor();
  await look(host, silent, 'no-server');
}

async function givesUpInTheEnd({host, card: given, client}) {
  const {structuredContent: real} = await client.callTool({name: STATUS, arguments: {}});
  const running = {run_id: '0190c2f1-7a00-7000-8000-000000000001', phase: 'read', elapsed_ms: 90_000, rows: 12_345};
  const status = {...real, activity: 'running', running};
  const {clock} = host.page;
  await clock.install();
  const card = await host.show({card: given, tool: async () => ({result: {content: [], structuredContent: status}})});
  const asked = async () => (await host.host('calls')).length;
  await card.locator('#progress', {hasText: 'Reading the central database · 12,345 rows · 90 s'}).waitFor();
  for (let minute = 0; minute < 29; minute += 1) {
    const before = await asked();
    await clock.fastForward(60_000);
    await until(`it is asked in minute ${minute}`, async () => await asked() > before);
  }
  await clock.fastForward(120_000);
  await card.locator('#trouble', {hasText: 'Refresh to look again'}).waitFor();
  const last = await asked();
  await clock.fastForward(600_000);
  await host.host('ping');
  assert.equal(await asked(), last);
  await button(card, 'Refresh').click();
  await until('it is asked again', async () => await asked() > last);
  await card.locator('#trouble').waitFor({state: 'hidden'});
}

const HEALTHS = {
  ok: 'In sync', late: 'Overdue', stale: 'Stale', failing: 'Failing', paused: 'Paused', never_run: 'Never run', not_configured: 'Not configured',
};

async function showsEveryHealth({host, card: given, client}) {
  const {structuredContent: real} = await client.callTool({name: STATUS, arguments: {}});
  const marks = new Set();
  for (const [health, name] of Object.entries(HEALTHS)) {
    const status = {...real, health, next_run_at: '2026-11-26T15:00:00Z', last_success_at: '2026-11-26T14:00:03Z',
      schedule: {line: '0 * * * *', timezone: 'Europe/Berlin'}, tenant: {id: '7', name: 'Acme'}, warnings: ['The log is nearly full.']};
    const card = await host.show({card: given, capabilities: {}, result: {content: [], structuredContent: status},
      context: {locale: 'de-DE', timeZone: 'America/New_York'}});
    await until('it is shown', async () => await word(card) === name);
    marks.add(await card.locator('#state path').getAttribute('d'));
    assert.equal(await card.locator('#state.good').count(), health === 'ok' ? 1 : 0);
    assert.match(await card.locator('#facts').innerText(), /26\.11\.2026, 10:00/);
    await look(host, card, `health-${health}`);
  }
  assert.equal(marks.size, Object.keys(HEALTHS).length, 'each health has a shape of its own');
}

/** A server of many tenants, as the tool words it: the status of all, or of the one that is named. */
async function listsTenants({host, card: given, client}) {
  const {structuredContent: real} = await client.callTool({name: STATUS, arguments: {}});
  const list = Array.from({length: 20}, (_, n) => ({tenant_id: `${n + 7}`, name: n ? `Site ${n}` : '<b>Acme</b>', health: n ? 'ok' : 'failing',
    activity: 'idle', ...(!n && {last_run: {run_id: real.now, started_at: real.now, changes: 0, error_code: 'REMOTE_TIMEOUT', error_message: 'The remote did not answer.'}})}));
  const {ok, failing} = {ok: 41, failing: 1};
  const all = {...real, health: 'failing', summary: '41 of 42 tenants are in sync; 1 failing.', history: [],
    tenants: {total: ok + failing, matching: ok + failing, by_health: {failing, stale: 0, late: 0, never_run: 0, not_configured: 0, paused: 0, ok}, list}};
  const error = text => ({content: [{type: 'text', text}], isError: true});
  const tool = async ({name, arguments: asked}) => ({
    result: name === STATUS && !Object.keys(asked).length ? {content: [], structuredContent: all}
      : asked.tenant_id === '8' ? await client.callTool({name, arguments: {...asked, tenant_id: undefined}})
      : error('No tenant is named. Remedy: Name one. [TENANT_REQUIRED]'),
  });
  for (const result of [undefined, {content: [], structuredContent: all}]) {
    const card = await host.show({card: given, tool, result});
    await card.locator('#tenants li').first().waitFor();
    assert.equal(await word(card), 'Failing');
    const rows = await card.locator('#tenants li').allInnerTexts();
    assert.equal(rows.length, 5);
    assert.match(rows[0], /^<b>Acme<\/b>\s*Failing\s*The remote did not answer\.$/);
    assert.match(await card.locator('#tenants').innerText(), /The worst 5 of 42\.$/);
    assert.equal(await card.getByRole('button').count(), 1, 'to refresh, as a sync is one tenant\'s');
    assert(await card.locator('#trouble').isHidden());
    await look(host, card, 'tenants');
  }
  const card = await host.show({card: given, tool, input: {tenant_id: '8'}, result: {content: [], structuredContent: real}});
  await button(card, 'Sync now').click();
  await card.locator('#run .badge', {hasText: 'Succeeded'}).waitFor();
  await idle(card);
  const calls = await host.host('calls');
  const synced = calls.findIndex(({name}) => name === TRIGGER);
  const asked = calls.slice(synced).map(({arguments: {tenant_id}}) => tenant_id);
  assert.deepEqual([...new Set(asked)], ['8'], 'the tenant is named in each call');
}

export const scenarios = [
  {name: 'a host finds the card by its tools and reads it', play: isFound},
  {name: 'the card has the theme, the colours, the fonts and the insets of its host', play: isThemed},
  {name: 'without leave to call tools the card shows the result and no buttons', play: mayNotCall},
  {name: 'opened with a run, the card shows that run and asks for the status', play: opensWithARun},
  {name: 'opened about one run of the past, the card keeps to it', play: keepsToTheRunAskedAbout},
  {name: 'the keyboard alone is enough, and the focus is seen and stays', play: obeysKeys},
  {name: 'the card hears no one but its host, and is silent when closed', play: speaksOnlyToItsHost},
  {name: 'a host or server that refuses is told of', play: bearsARefusingHost},
  {name: 'a run that never ends is not followed for ever', play: givesUpInTheEnd},
  {name: 'every health has a word and a shape, and only one is green', play: showsEveryHealth},
  {name: 'of many tenants the worst are listed, and of one the card names it in each call', play: listsTenants},
];
