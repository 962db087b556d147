// The browser, what it complains of, and what is looked at in every state of the page.

import {mkdirSync, readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {chromium} from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const LOOKS = 'looks';
const WIDE = {width: 1100, height: 800}, NARROW = {width: 320, height: 640};

export async function openStage() {
  mkdirSync(LOOKS, {recursive: true});
  const launch = () => chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking',
      ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
  });
  // Where memory is short Chromium may die as it starts, before it has shown anything.
  const browser = await launch().catch(launch);
  return {
    open: url => openPerson(browser, url),
    close: () => browser.close(),
  };
}

/** Somebody with a browser of their own, of which every complaint is kept. */
function openPerson(browser, url) {
  const contexts = [];
  const complaints = [];
  let expected = [];
  const complain = text => { if (!expected.some(pattern => pattern.test(text))) complaints.push(text); };

  async function browse(options = {}) {
    const context = await browser.newContext({
      viewport: WIDE, locale: 'en-GB', timezoneId: 'Europe/Berlin', colorScheme: 'light', baseURL: url(), ...options,
    });
    context.setDefaultTimeout(20_000);
    await context.exposeBinding('complain', (_source, text) => complain(text));
    await context.addInitScript(() => document.addEventListener('securitypolicyviolation',
      event => window.complain(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`)));
    context.on('page', watch);
    contexts.push(context);
    return context;
  }

  function watch(page) {
    page.on('console', message => {
      if (['error', 'warning'].includes(message.type())) complain(`console: ${message.text()} ${message.location().url}`);
    });
    page.on('pageerror', error => complain(`script: ${error.stack}`));
    page.on('dialog', dialog => { complain(`dialog: ${dialog.message()}`); dialog.dismiss(); });
    page.on('request', request => {
      if (!request.url().startsWith(`${url()}/`) && request.url() !== 'about:blank') complain(`foreign: ${request.url()}`);
    });
    // a page that is left lets go of what it asked for
    page.on('requestfailed', request => {
      const why = request.failure()?.errorText;
      if (why !== 'net::ERR_ABORTED') complain(`request: ${request.url()} ${why}`);
    });
  }

  return {
    complaints,
    /** From now on these are no complaints; they are what the scenario does to the page. */
    expect: (...patterns) => { expected = patterns; },
    browse,
    /** A page of the site in a browser of its own. */
    async visit(path = '/', options = {}) {
      const page = await (await browse(options)).newPage();
      await page.goto(path);
      return page;
    },
    async fail() {
      const pages = contexts.flatMap(context => context.pages());
      for (const [n, page] of pages.entries()) await page.screenshot({path: `${LOOKS}/failed-${n}.png`, fullPage: true}).catch(() => {});
    },
    async close() {
      for (const context of contexts) await context.close();
    },
  };
}

/** Holds one state of the page to what every state must be, and keeps pictures of it. */
export async function look(page, name) {
  await page.emulateMedia({colorScheme: 'light'});
  await page.setViewportSize(WIDE);
  await page.screenshot({path: `${LOOKS}/${name}-light.png`, fullPage: true});
  await fits(page, name);
  await accessible(page, `${name}, light`);
  await page.emulateMedia({colorScheme: 'dark'});
  await page.setViewportSize(NARROW);
  await fits(page, name);
  await page.screenshot({path: `${LOOKS}/${name}-dark.png`, fullPage: true});
  await accessible(page, `${name}, dark`);
  await page.evaluate(() => { document.documentElement.style.fontSize = '200%'; });
  await fits(page, `${name} with letters of twice the size`);
  await page.evaluate(() => { document.documentElement.style.fontSize = ''; });
  await page.emulateMedia({colorScheme: 'light'});
  await page.setViewportSize(WIDE);
}

/** The page itself never scrolls sideways. */
export async function fits(page, name) {
  const over = await page.evaluate(() => {
    if (document.documentElement.scrollWidth <= window.innerWidth) return null;
    const range = document.createRange();
    const right = node => { range.selectNodeContents(node); return Math.max(node.getBoundingClientRect().right, range.getBoundingClientRect().right); };
    return [`${document.documentElement.scrollWidth} px`, ...[...document.querySelectorAll('body *')]
      .filter(node => right(node) > window.innerWidth).map(node => node.outerHTML.slice(0, 120))];
  });
  if (over) throw new Error(`${name}: wider than ${page.viewportSize().width} px: ${over.join('\n')}`);
}

async function accessible(page, name) {
  if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(AXE);
  const violations = await page.evaluate(async () => (await window.axe.run(document, {resultTypes: ['violations']})).violations
    .map(({id, impact, help, nodes}) => ({id, impact, help, where: nodes.slice(0, 5).map(node => `${node.html.slice(0, 120)} ${node.failureSummary}`)})));
  const serious = violations.filter(({impact}) => ['serious', 'critical'].includes(impact));
  if (serious.length) throw new Error(`${name}: ${JSON.stringify(serious, null, 1)}`);
}
