// The browser, the host's page and the sandbox's, and what is looked at in every state of the card.

import {createServer} from 'node:http';
import {once} from 'node:events';
import {mkdirSync, readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {chromium} from 'playwright-core';
import {until} from './sites.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const LOOKS = 'looks';
export const WIDTH = 640, NARROW = 320;

async function listen(pages) {
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://127.0.0.1');
    const page = pages[url.pathname];
    if (!page) return response.writeHead(204).end();
    response.writeHead(200, page.headers(url)).end(page.body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {server, origin: `http://127.0.0.1:${server.address().port}`};
}

/** The policy the specification has a host make of what a card declares. */
function policy({resourceDomains = [], connectDomains = [], frameDomains = [], baseUriDomains = []} = {}) {
  const at = list => list.join(' ');
  return [`default-src 'none'`, `script-src 'self' 'unsafe-inline' ${at(resourceDomains)}`,
    `style-src 'self' 'unsafe-inline' ${at(resourceDomains)}`, `connect-src ${at(connectDomains) || "'none'"}`,
    `img-src 'self' data: ${at(resourceDomains)}`, `font-src 'self' ${at(resourceDomains)}`,
    `media-src 'self' data: ${at(resourceDomains)}`, `frame-src ${at(frameDomains) || "'none'"}`,
    `object-src 'none'`, `base-uri ${at(baseUriDomains) || "'self'"}`].join('; ');
}

export async function openStage() {
  mkdirSync(LOOKS, {recursive: true});
  const html = {'content-type': 'text/html; charset=utf-8'};
  const host = await listen({
    '/': {headers: () => html, body: '<!doctype html><html lang="en"><title>host</title><body><script src="/host.js"></script></body></html>'},
    '/host.js': {headers: () => ({'content-type': 'text/javascript'}), body: readFileSync('built/host.js')},
  });
  const sandbox = await listen({
    '/': {
      headers: url => ({...html, 'content-security-policy': policy(JSON.parse(url.searchParams.get('csp')))}),
      body: readFileSync('sandbox.html'),
    },
  });
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking',
      ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
  });
  const context = await browser.newContext({viewport: {width: 700, height: 900}, locale: 'en-GB', timezoneId: 'Europe/Berlin'});
  context.setDefaultTimeout(20_000);
  return {
    open: () => openHost(context, host.origin, sandbox.origin),
    async close() {
      await browser.close();
      for (const {server} of [host, sandbox]) {
        server.closeAllConnections();
        server.close();
      }
    },
  };
}

/** A page with a host, of which every complaint is kept. */
async function openHost(browserContext, hostOrigin, sandboxOrigin) {
  const page = await browserContext.newPage();
  const complaints = [];
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on('pageerror', error => complaints.push(`script: ${error.message}`));
  page.on('dialog', dialog => { complaints.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', request => {
    const isOurs = [hostOrigin, sandboxOrigin].some(origin => request.url().startsWith(`${origin}/`));
    if (!isOurs && !request.url().startsWith('about:')) complaints.push(`request: ${request.url()}`);
  });
  let call = async () => ({error: {code: -32603, message: 'no server'}});
  await page.exposeFunction('callTool', params => call(params));
  await page.goto(hostOrigin);
  return {
    page,
    complaints,
    /** Shows the card; `tool` answers what it calls. */
    async show({card, tool, context = {}, capabilities = {serverTools: {}}, width = WIDTH, input, result}) {
      if (tool) call = tool;
      const csp = card.meta?.csp;
      const sandbox = `${sandboxOrigin}/?csp=${encodeURIComponent(JSON.stringify(csp ?? {}))}`;
      await page.evaluate(given => window.show(given), {
        sandbox, html: card.html, csp, capabilities, width, input, result, context: {theme: 'light', displayMode: 'inline', ...context},
      });
      const inner = () => page.frames().find(frame => frame.parentFrame()?.parentFrame() === page.mainFrame());
      await until('the card is there', inner);
      return inner();
    },
    host: (name, ...given) => page.evaluate(([name, given]) => window[name](...given), [name, given]),
    close: () => page.close(),
  };
}

/** Holds one state of the card to what every state must be, and keeps a picture of it in both themes. */
export async function look(host, card, name) {
  for (const theme of ['light', 'dark']) {
    await host.host('context', {theme});
    await card.waitForFunction(theme => document.documentElement.style.colorScheme === theme, theme);
    await settle(card);
    await card.locator('main').first().waitFor();
    await host.page.locator('iframe').first().screenshot({path: `${LOOKS}/${name}-${theme}.png`});
    await accessible(card, `${name}, ${theme}`);
  }
  await host.host('context', {theme: 'light'});
  await host.host('widen', NARROW);
  await card.waitForFunction(width => window.innerWidth === width, NARROW);
  await settle(card);
  const {wide, over} = await card.evaluate(() => ({
    wide: document.documentElement.scrollWidth,
    over: [...document.querySelectorAll('body *')].filter(node => node.getBoundingClientRect().right > window.innerWidth + 1).map(node => node.outerHTML.slice(0, 80)),
  }));
  await host.page.locator('iframe').first().screenshot({path: `${LOOKS}/${name}-narrow.png`});
  if (wide > NARROW || over.length) throw new Error(`${name}: ${wide} px wide at ${NARROW}: ${over}`);
  await host.host('widen', WIDTH);
  await card.waitForFunction(width => window.innerWidth === width, WIDTH);
}

/** Until the host has given the card the height it asked for. */
async function settle(card) {
  await card.waitForFunction(() => Math.abs(window.innerHeight - document.body.getBoundingClientRect().height) <= 1);
}

async function accessible(card, name) {
  if (!await card.evaluate(() => 'axe' in window)) await card.evaluate(AXE);
  const violations = await card.evaluate(async () => (await window.axe.run(document, {resultTypes: ['violations']})).violations
    .map(({id, impact, help, nodes}) => ({id, impact, help, where: nodes.map(node => `${node.html.slice(0, 120)} ${node.failureSummary}`)})));
  const serious = violations.filter(({impact}) => ['serious', 'critical'].includes(impact));
  if (serious.length) throw new Error(`${name}: ${JSON.stringify(serious, null, 1)}`);
}
