// The clients of both SDKs behind one face: what differs between them stands here, and nothing else does.
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport as Sse1 } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport as Stdio1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as Http1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema, ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import {
  Client as Client2,
  SSEClientTransport as Sse2,
  StreamableHTTPClientTransport as Http2,
} from "@modelcontextprotocol/client";
import { StdioClientTransport as Stdio2 } from "@modelcontextprotocol/client/stdio";
import { PROGRAM } from "./site.mjs";

export const TRANSPORTS = ["stdio", "http", "sse"];

const INFO = { name: "judge", version: "1.0" };
const subscribe = (client, uri) => client.subscribeResource({ uri });

const FIRST = {
  name: "sdk 1.x",
  Client: Client1,
  Transport: { stdio: Stdio1, http: Http1, sse: Sse1 },
  options: {},
  question: ElicitRequestSchema,
  update: ResourceUpdatedNotificationSchema,
  call: (client, params, options) => client.callTool(params, undefined, options),
  subscribe,
};

const second = (name, mode, version, subscribe) => ({
  name: `client 2.x ${name}`,
  Client: Client2,
  Transport: { stdio: Stdio2, http: Http2, sse: Sse2 },
  options: { versionNegotiation: { mode } },
  version,
  question: "elicitation/create",
  update: "notifications/resources/updated",
  call: (client, params, options) => client.callTool(params, options),
  subscribe,
});
const listen = (client, uri) => client.listen({ resourceSubscriptions: [uri] });

export const SDKS = [
  FIRST,
  second("legacy", "legacy", "2025-11-25", subscribe),
  second("auto", "auto", "2026-07-28", listen),
  second("pinned", { pin: "2026-07-28" }, "2026-07-28", listen),
];

function transport(sdk, kind, { settings }, server) {
  const Transport = sdk.Transport[kind];
  if (kind !== "stdio") return new Transport(new URL(kind === "sse" ? "/sse" : "/mcp", server.url));
  return new Transport({ command: PROGRAM, args: ["stdio"], env: settings, stderr: "ignore" });
}

/** A client that is connected and knows the tools; `answer` is what its user says to a question, if it can ask. */
export async function connect(sdk, kind, site, server, answer) {
  const capabilities = answer ? { elicitation: {} } : {};
  const client = new sdk.Client(INFO, { capabilities, ...sdk.options });
  const complaints = [];
  client.onerror = (error) => complaints.push(error);
  if (answer) client.setRequestHandler(sdk.question, answer);
  await client.connect(transport(sdk, kind, site, server));
  const { tools } = await client.listTools(); // what results are checked by
  return {
    tools,
    server: client.getServerVersion(),
    version: client.getNegotiatedProtocolVersion?.(),
    call: (name, args = {}, options = {}) => sdk.call(client, { name, arguments: args }, options),
    read: (uri) => client.readResource({ uri }),
    async watch(uri, updated) {
      client.setNotificationHandler(sdk.update, ({ params }) => updated(params.uri));
      await sdk.subscribe(client, uri);
    },
    async close() {
      const before = [...complaints]; // what the end itself breaks off is none of ours
      await client.close();
      if (before.length) throw new AggregateError(before, `the client complains: ${before.join("; ")}`);
    },
  };
}
