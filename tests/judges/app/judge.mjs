// Runs every scenario, each on a fresh site with a fresh host; one line each.

import {RESOURCE_MIME_TYPE} from '@modelcontextprotocol/ext-apps/app-bridge';
import * as runs from './runs.mjs';
import * as hosts from './hosts.mjs';
import {within} from './site.mjs';
import {URI, openSite, serve} from './sites.mjs';
import {openStage} from './stage.mjs';

const SCENARIO_MS = 120_000;

/** What a scenario works with: the site, the program's client, the card and a host to show it in. */
async function prepare(site, stage, settings) {
  await site.reset();
  const over = {...site.settings, ...settings};
  const program = await serve(Object.fromEntries(Object.entries(over).filter(([, value]) => value !== null)));
  const {contents: [{text, mimeType, _meta}]} = await program.client.readResource({uri: URI});
  if (mimeType !== RESOURCE_MIME_TYPE) throw new Error(mimeType);
  const host = await stage.open();
  const tool = async ({name, arguments: given}) => {
    try {
      return {result: await program.client.callTool({name, arguments: given})};
    } catch ({code, message}) {
      return {error: {code, message}};
    }
  };
  const close = async () => {
    await host.close();
    await program.close();
  };
  return {site, client: program.client, card: {html: text, meta: _meta?.ui}, host, tool, close};
}

async function judge(scenario, site, stage) {
  const scene = await prepare(site, stage, scenario.settings);
  try {
    await within(scenario.play(scene), scenario.name, SCENARIO_MS);
    const {complaints} = scene.host;
    if (complaints.length) throw new Error(`the browser complains: ${complaints.join('; ')}`);
  } catch (error) {
    await scene.host.page.screenshot({path: 'looks/failed.png', fullPage: true}).catch(() => {});
    throw error;
  } finally {
    await scene.close();
  }
}

const wanted = process.argv[2];
const scenarios = [...runs.scenarios, ...hosts.scenarios].filter(({name}) => !wanted || name.includes(wanted));
let failed = 0;
const site = await openSite();
const stage = await openStage();
try {
  for (const scenario of scenarios) {
    try {
      await judge(scenario, site, stage);
      console.log(`ok      ${scenario.name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${scenario.name}\n${error.stack}`);
    }
  }
} finally {
  await stage.close();
  await site.close();
}
console.log(`${scenarios.length - failed} passed, ${failed} failed`);
process.exitCode = failed || !scenarios.length ? 1 : 0;
