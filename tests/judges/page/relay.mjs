// A line to a database that can be slow, silent or cut.

import {createServer, connect} from 'node:net';
import {once} from 'node:events';

/** A sound line to the server of this URL, and the URL that leads through it. */
export async function relay(url) {
  const {port} = new URL(url);
  let state = {};
  const pairs = new Set();

  const flow = () => {
    for (const {client, server, sent} of pairs) {
      if (state.holdAfter !== undefined && sent() >= state.holdAfter) server.pause();
      else server.resume();
      if (state.cut) { client.destroy(); server.destroy(); }
    }
  };
  const listener = createServer(client => {
    if (state.cut) return client.destroy();
    const server = connect(Number(port), '127.0.0.1');
    let bytes = 0;
    const pair = {client, server, sent: () => bytes};
    pairs.add(pair);
    client.pipe(server);
    server.on('data', piece => {
      bytes += piece.length;
      client.write(piece);
      flow();
    });
    server.on('end', () => client.end());
    for (const end of [client, server]) {
      end.setNoDelay(true);
      end.on('error', () => {});
      end.on('close', () => { pairs.delete(pair); client.destroy(); server.destroy(); });
    }
    flow();
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const set = next => { state = next; flow(); };
  return {
    url: url.replace(`:${port}/`, `:${listener.address().port}/`),
    /** Nothing is wrong. */
    open: () => set({}),
    /** What the server says on a connection after so many bytes does not arrive for now. */
    hold: (holdAfter = 0) => set({holdAfter}),
    /** Connections are cut, and new ones closed as they come. */
    cut: () => set({cut: true}),
    close() {
      set({cut: true});
      listener.close();
    },
  };
}
