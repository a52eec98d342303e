// What the embedded store costs with many jobs: writes them, changes them, and opens them again. Reports; promises
// nothing. Run: deno run -A bench/leave_store.ts [jobs]

import process from "node:process";
import { SqliteStore } from "../lib/leave/sqlite_store.ts";
import type { StoredJob } from "../lib/leave/store.ts";
import { hashedIdentity, roomAlias } from "../lib/livekit/identity.ts";
import { parseServerName } from "../lib/matrix/server_name.ts";
import { productionDeps } from "../lib/service.ts";

const count = Number(Deno.args[0] ?? 50_000);
const directory = Deno.makeTempDirSync();
const silent = {
  debug() {},
  info() {},
  warning: console.warn,
  error: console.error,
};

function open(): { store: SqliteStore; opened: Promise<number> } {
  const store = new SqliteStore({ ...productionDeps(silent), directory });
  let adopted = 0;
  const listener = {
    adopt: (jobs: readonly StoredJob[]) => void (adopted += jobs.length),
    release() {},
    deliver() {},
  };
  return {
    store,
    opened: store.open({ ...listener, gap() {} }).then(() => adopted),
  };
}

function jobOf(n: number): StoredJob {
  const homeserver = parseServerName("matrix.example.com");
  if (homeserver === null) throw new TypeError("not a server name");
  const identity = hashedIdentity(
    `@user${n}:matrix.example.com`,
    `DEVICE${n}`,
    `member${n}`,
  );
  return {
    room: roomAlias(`!room${n >> 3}:matrix.example.com`, "m.call#ROOM"),
    identity,
    watched: [
      identity,
      `@user${n}:matrix.example.com:DEVICE${n}` as typeof identity,
    ],
    homeserver,
    delayId: `syd_${n}abcdefghijklmnopq`,
    delayMs: 3_600_000,
    state: "connected",
    sessions: { [identity]: `PA_${n}abcdefgh` },
    timerStartedAt: Date.now(),
    waitUntil: Date.now() + 3_600_000,
    hint: "none",
    absentSince: null,
  };
}

async function measure<Result>(
  what: string,
  work: () => Promise<Result>,
): Promise<Result> {
  const startedAt = performance.now();
  const cpuBefore = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(cpuBefore);
  console.log(
    `${what}: ${Math.round(performance.now() - startedAt)} ms, ${Math.round((user + system) / 1000)} ms CPU`,
  );
  return result;
}

const jobs = Array.from({ length: count }, (_, n) => jobOf(n));
const first = open();
await measure("open, empty", () => first.opened);
await measure(
  `accept ${count} jobs at once`,
  () => Promise.all(jobs.map((job) => first.store.accept(job))),
);
await measure("accept 200 jobs one after another", async () => {
  for (const job of jobs.slice(0, 200)) await first.store.accept(job);
});
for (const job of jobs) {
  first.store.update({ ...job, timerStartedAt: job.timerStartedAt + 1 });
}
await measure(`close with ${count} changes pending`, () => first.store.close());
console.log(
  `file: ${Math.round(Deno.statSync(`${directory}/lk-jwt-service.sqlite`).size / 1024)} KiB`,
);
const second = open();
const adopted = await measure("open and hand out", () => second.opened);
console.log(`adopted: ${adopted}`);
await second.store.close();
Deno.removeSync(directory, { recursive: true });
