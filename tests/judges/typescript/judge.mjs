// Takes every client through every scenario: judge.mjs [WORD..], only those whose line has all the words.
import { SDKS, TRANSPORTS, connect } from "./clients.mjs";
import { SCENARIOS } from "./scenarios.mjs";
import { openSite, serve, within } from "./site.mjs";

const SCENARIO_MS = 60_000;
const count = { passed: 0, failed: 0 };

/** One scenario; its clients are closed, however it ends. */
async function play(scenario, sdk, transport, site, server) {
  const assistants = [];
  const connected = async (answer) => {
    assistants.push(await connect(sdk, transport, site, server, answer));
    return assistants.at(-1);
  };
  await site.reset();
  try {
    await within(scenario({ site, sdk, connect: connected }), "the scenario", SCENARIO_MS);
  } finally {
    await within(Promise.all(assistants.map((assistant) => assistant.close())), "the clients' end");
  }
}

async function judge(sdk, transport) {
  const site = await openSite();
  const server = transport === "stdio" ? undefined : await serve(site);
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    const line = `${sdk.name}, ${transport}: ${name}`;
    if (!process.argv.slice(2).every((word) => line.includes(word))) continue;
    try {
      await play(scenario, sdk, transport, site, server);
      count.passed += 1;
      console.log(`ok    ${line}`);
    } catch (error) {
      count.failed += 1;
      console.log(`FAILS ${line}\n${error.stack}`);
    }
  }
  await server?.stop();
  await site.close();
}

for (const sdk of SDKS) for (const transport of TRANSPORTS) await judge(sdk, transport);
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exit(count.failed ? 1 : 0);
