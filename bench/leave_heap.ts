// How much is alive in the heap of a process that runs with V8's inspector.

import * as v from "valibot";

const Targets = v.tuple([v.object({ webSocketDebuggerUrl: v.string() })]);
const Answer = v.object({ id: v.optional(v.number()), result: v.optional(v.unknown()) });
const Usage = v.object({ usedSize: v.number() });

/** Collects all garbage, and counts what is left, in bytes. */
export async function liveHeapBytes(inspectorPort: number): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${inspectorPort}/json/list`);
  const [{ webSocketDebuggerUrl }] = v.parse(Targets, await response.json());
  const socket = new WebSocket(webSocketDebuggerUrl);
  try {
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error("Cannot connect to the inspector"));
    });
    await ask(socket, 1, "HeapProfiler.collectGarbage");
    return v.parse(Usage, await ask(socket, 2, "Runtime.getHeapUsage")).usedSize;
  } finally {
    await new Promise((resolve) => {
      socket.onclose = resolve;
      socket.close();
    });
  }
}

function ask(socket: WebSocket, id: number, method: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    socket.onclose = () => reject(new Error(`The inspector closed the connection at "${method}"`));
    socket.onmessage = ({ data }) => {
      const answer = v.parse(Answer, JSON.parse(String(data)));
      if (answer.id === id) resolve(answer.result);
    };
    socket.send(JSON.stringify({ id, method }));
  });
}
