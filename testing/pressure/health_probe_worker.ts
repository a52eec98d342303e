/// <reference lib="deno.worker" />
// The thread of a health probe. Beside each probe it asks a server of its own that does nothing: what that takes is the
// machine's slowness, not the service's.

const EVERY_MS = 250;
const TIMEOUT_MS = 10_000;

const control = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response());
// Each probe has a connection of its own, as those of orchestrators have.
const client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
const health = { answered: 0, failed: 0, slowestMs: 0 };
let isOver = false;

self.onmessage = ({ data }: MessageEvent<string | null>) => {
  if (data === null) isOver = true;
  else void probe(data);
};

async function probe(url: string): Promise<void> {
  while (!isOver) {
    const [service, idle] = await Promise.all([
      timed(`${url}/healthz`),
      timed(`http://127.0.0.1:${control.addr.port}`),
    ]);
    if (service.isOk) health.answered++;
    else health.failed++;
    health.slowestMs = Math.max(health.slowestMs, service.tookMs - idle.tookMs);
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
  await control.shutdown();
  self.postMessage(health);
}

async function timed(url: string): Promise<{ readonly isOk: boolean; readonly tookMs: number }> {
  const startedAt = performance.now();
  const response = await fetch(url, { client, signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(() => null);
  await response?.body?.cancel();
  return { isOk: response?.status === 200, tookMs: performance.now() - startedAt };
}
