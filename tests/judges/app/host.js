// A web host as the MCP Apps specification wants one: the official bridge on this page, the card in an
// inner frame of a sandbox page that is of another origin.

import {AppBridge, PostMessageTransport} from '@modelcontextprotocol/ext-apps/app-bridge';

let bridge, frame;
const calls = [];

/** Shows the card. `input` and `result` are those of the tool call it is shown for. */
window.show = async ({sandbox, html, csp, capabilities, context, width, input, result}) => {
  document.body.style.background = context.theme === 'dark' ? '#000' : '#eee';
  calls.length = 0;
  frame = document.createElement('iframe');
  frame.title = 'card';
  frame.style.cssText = `border:0;width:${width}px;height:40px`;
  frame.src = sandbox;
  bridge = new AppBridge(null, {name: 'judge', version: '1'}, capabilities, {hostContext: context});
  bridge.oncalltool = async params => {
    calls.push(params);
    const answer = await window.callTool(params);
    if (answer.error) throw Object.assign(new Error(answer.error.message), {code: answer.error.code});
    return answer.result;
  };
  bridge.onsizechange = ({height}) => { frame.style.height = `${height}px`; };
  const ready = new Promise(resolve => { bridge.onsandboxready = resolve; });
  const begun = new Promise(resolve => { bridge.oninitialized = resolve; });
  document.body.replaceChildren(frame);
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  await ready;
  await bridge.sendSandboxResourceReady({html, csp});
  await begun;
  await bridge.sendToolInput({arguments: input ?? {}});
  if (result) await bridge.sendToolResult(result);
};

window.calls = () => calls;
window.context = change => bridge.sendHostContextChange(change);
window.result = result => bridge.sendToolResult(result);
window.cancelled = reason => bridge.sendToolCancelled({reason});
window.teardown = () => bridge.teardownResource({}, {timeout: 5000});
window.ping = () => bridge.request({method: 'ping'}, {timeout: 5000});
window.app = () => ({info: bridge.getAppVersion(), can: bridge.getAppCapabilities()});
window.widen = width => { frame.style.width = `${width}px`; };
