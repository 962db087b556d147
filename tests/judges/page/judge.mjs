// Runs every scenario, each on a fresh site with a browser of its own; one line each.

import * as failures from './failures.mjs';
import * as reading from './reading.mjs';
import * as running from './running.mjs';
import * as brake from './brake.mjs';
import * as signing from './signing.mjs';
import * as hostile from './hostile.mjs';
import * as syncs from './syncs.mjs';
import * as tenants from './tenants.mjs';
import {within} from './site.mjs';
import {openSite, serve} from './sites.mjs';
import {openStage} from './stage.mjs';

const SCENARIO_MS = 90_000;
const SUBJECTS = [syncs, running, failures, brake, signing, reading, hostile, tenants];

async function judge(scenario, site, stage) {
  await site.reset();
  const settings = {...site.settings, ...scenario.settings};
  const program = await serve(settings);
  const person = stage.open(() => program.url);
  try {
    await within(scenario.play({site, settings, program, person, visit: person.visit}), scenario.name, SCENARIO_MS);
    if (person.complaints.length) throw new Error(`the browser complains: ${person.complaints.join('\n')}`);
  } catch (error) {
    await person.fail();
    throw error;
  } finally {
    await person.close();
    await program.kill();
  }
}

const wanted = process.argv[2];
const scenarios = SUBJECTS.flatMap(subject => subject.scenarios).filter(({name}) => !wanted || name.includes(wanted));
let failed = 0;
const site = await openSite();
const stage = await openStage();
try {
  for (const scenario of scenarios) {
    const begun = Date.now();
    try {
      await judge(scenario, site, stage);
      console.log(`ok    page: ${scenario.name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILS page: ${scenario.name}\n${error.stack}`);
    }
  }
} finally {
  await stage.close();
  await site.close();
}
console.log(`${scenarios.length - failed} passed, ${failed} failed`);
process.exitCode = failed || !scenarios.length ? 1 : 0;
