// Everything that can grow is bounded in bytes, and all of it together, at its fullest, fits the 200 MiB that packagers
// allow: each map, set, queue and cache that lives as long as the process stands here, with the row of the table that
// bounds it or the reason why it needs none. A new one fails this test until it has its row. docs/security.md has those
// bounds that an operator can meet.

import assert from "node:assert/strict";
import { MAX_JOB_BYTES } from "../lib/leave/job_bytes.ts";
import { v8Flags } from "../tasks/compile.ts";

const ROOT = new URL("../", import.meta.url);
const page = Deno.readTextFileSync(new URL("docs/security.md", ROOT));

const GROWING =
  /^\s+(?:readonly )?(?:this\.)?#(\w+)(?:: .+?)? = (?:new (?:Map|Set|Fifo|LoadingCache|Semaphore|BoundedMap|IdlePool|UnconfirmedJobs)\b|\[\]|heapOf)/gm;

const KIB = 1024;
const MIB = 1024 * KIB;

/** What something takes at its fullest. */
interface Bound {
  readonly entries: number;
  /** Of the largest entry, with its place. */
  readonly bytes: number;
  /** Where the number stands. */
  readonly path: string;
  readonly declared: string;
}

function bound(entries: number, bytes: number, path: string, declared: string): Bound {
  return { entries, bytes, path, declared };
}

// A server name has 261 bytes, a user ID 255, an identity 256, a step 300; a map's place 40, an object some 100.
const IN_HEAP: Readonly<Record<string, Bound>> = {
  "jobs": bound(1, MAX_JOB_BYTES, "lib/leave/job_bytes.ts", "MAX_JOB_BYTES = 37 * 1024 * 1024"),
  // A token of 2 KB, five IDs, promises and timers.
  "exchanges": bound(4000, 7400, "lib/admission/concurrency.ts", "total: 4000"),
  "servers that have vouched": bound(4000, 400, "lib/admission/concurrency.ts", "MAX_PROVEN = 4000"),
  "verified tokens": bound(5000, 450, "lib/matrix/openid.ts", "CACHED_TOKENS = 5000"),
  "server well-knowns": bound(2000, 1100, "lib/matrix/server_well_known.ts", "CACHED_SERVERS = 2000"),
  // 1 KB of targets.
  "SRV answers": bound(1000, 2300, "lib/matrix/server_discovery.ts", "CACHED_SRV_NAMES = 1000"),
  // A base URL of 1 KB.
  "client APIs": bound(1000, 2600, "lib/matrix/client_discovery.ts", "CACHED_SERVERS = 1000"),
  "unreachable servers": bound(2000, KIB, "lib/matrix/federation_client.ts", "MAX_BREAKERS = 2000"),
  "support of delayed events": bound(1000, 400, "lib/leave/delegations.ts", "CACHED_SERVERS = 1000"),
  "existing rooms": bound(5000, 200, "lib/livekit/rooms.ts", "CACHED_ROOMS = 5000"),
  "webhooks seen": bound(5000, 250, "lib/livekit/webhook_receiver.ts", "REMEMBERED_EVENTS = 5000"),
  "waiting events": bound(4000, 900, "lib/livekit/webhook_queue.ts", "MAX_WAITING = 4000"),
  "recent leaves": bound(4000, 700, "lib/leave/presence/recent_leaves.ts", "MAX_REMEMBERED = 4000"),
  "removals": bound(2000, 700, "lib/leave/store/redis/changes.ts", "MAX_REMOVALS = 2000"),
  "unsent events": bound(500, 900, "lib/leave/store/redis/events.ts", "MAX_UNSENT_EVENTS = 500"),
  "jobs passed on": bound(250, 2300, "lib/leave/store/redis/store.ts", "MAX_PASSED_ON = 250"),
  "call queues and token buckets": bound(2000, 1500, "lib/leave/calls/token_bucket.ts", "MAX_BUCKETS = 2000"),
  "counted clients": bound(5000, 450, "lib/admission/rate_limit.ts", "MAX_CLIENTS = 5000"),
  "throttled log records": bound(1000, 400, "lib/log/throttle.ts", "MAX_KEYS = 1000"),
};

const BESIDE_HEAP: Readonly<Record<string, Bound>> = {
  // The body, and the piece that comes.
  "large bodies": bound(50, 128 * KIB, "lib/http/body.ts", "MAX_LARGE_BODIES = 50"),
  "webhook bodies": bound(4, 2 * MIB, "lib/http/app.ts", "MAX_WEBHOOKS_IN_PIECES = 4"),
  // TLS, and a whole answer. Those to servers that the operator named answer with little.
  "connections of strangers": bound(272, 96 * KIB, "lib/net/client.ts", "MAX_CONNECTIONS_PER_RULE = 272"),
  "idle connections": bound(260, 32 * KIB, "lib/net/client.ts", "MAX_IDLE_CONNECTIONS = 260"),
};

// An executable that does nothing: its code and data, and what of it lies in the heap.
const BASE_BYTES = 20 * MIB;
const BASE_HEAP_BYTES = 14 * MIB;
const LIMIT_BYTES = 200 * MIB;

// The name of a bound, or a reason in brackets.
const BOUNDS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "lib/admission/concurrency.ts": {
    perServer: "exchanges",
    provenAt: "servers that have vouched",
  },
  "lib/async/deadline.ts": { pending: "exchanges" },
  "lib/cache/loading_cache.ts": { entries: "(each cache has its row)", flights: "exchanges" },
  "lib/config/environment.ts": { values: "(the configuration)" },
  "lib/http/body.ts": { large: "large bodies", connections: "(one per open connection)" },
  "lib/admission/rate_limit.ts": { keys: "counted clients" },
  "lib/leave/calls/calls.ts": {
    queues: "call queues and token buckets",
    underWay: "jobs",
  },
  "lib/leave/delegations.ts": { support: "support of delayed events" },
  "lib/async/queue.ts": { items: "(each queue has its row)" },
  "lib/leave/job_limits.ts": { reached: "(the limits)", underWay: "exchanges" },
  "lib/leave/presence/check_queue.ts": { lines: "jobs", suspects: "jobs", timeouts: "(eight times)" },
  "lib/leave/manager.ts": { listings: "jobs", unconfirmed: "exchanges" },
  "lib/leave/calls/turns.ts": { servers: "jobs" },
  "lib/leave/calls/token_bucket.ts": { buckets: "call queues and token buckets" },
  "lib/leave/presence/recent_leaves.ts": { leaves: "recent leaves" },
  "lib/leave/store/redis/changes.ts": { changes: "jobs", removals: "removals" },
  "lib/leave/store/redis/connection.ts": { disconnect: "(two connections)" },
  "lib/leave/store/redis/events.ts": { events: "unsent events" },
  "lib/leave/store/redis/shards.ts": { owned: "(64 shards)", toScan: "(64 shards)" },
  "lib/leave/store/redis/store.ts": {
    acceptances: "exchanges",
    passedOn: "jobs passed on",
    unconfirmed: "jobs",
  },
  "lib/leave/store/redis/unconfirmed.ts": { byField: "jobs", countByRoom: "jobs" },
  "lib/leave/job_index.ts": {
    byEvent: "jobs",
    byKey: "jobs",
    byRoom: "jobs",
    perHost: "jobs",
    perUser: "jobs",
  },
  "lib/leave/store/sqlite/writer.ts": { changes: "jobs" },
  "lib/leave/presence/room_poll.ts": { failed: "jobs" },
  "lib/leave/wake_timers.ts": { current: "jobs", queue: "jobs" },
  "lib/livekit/room_service.ts": { tokens: "(one per kind of grant without a room)" },
  "lib/livekit/rooms.ts": { existing: "existing rooms" },
  "lib/livekit/webhook_receiver.ts": { seen: "webhooks seen" },
  "lib/matrix/client_discovery.ts": { outcomes: "client APIs" },
  "lib/admission/homeserver_policy.ts": { allowedNames: "(the configuration)", blockedNames: "(the configuration)" },
  "lib/matrix/openid.ts": { verified: "verified tokens" },
  "lib/matrix/federation_client.ts": { unreachable: "unreachable servers" },
  "lib/matrix/server_discovery.ts": { srvAnswers: "SRV answers" },
  "lib/matrix/server_well_known.ts": { cache: "server well-knowns" },
  "lib/net/client.ts": {
    permits: "connections of strangers",
    permitsOfRules: "connections of strangers",
    idle: "idle connections",
  },
  "lib/net/idle_pool.ts": { pools: "idle connections", all: "idle connections" },
  "lib/cache/bounded_map.ts": { entries: "(each map has its row)" },
  "lib/doctor/startup_checks.ts": { findings: "(one per check and named server)" },
  "lib/async/semaphore.ts": { held: "exchanges", waiting: "exchanges" },
};

function sourceFiles(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory }) =>
    isDirectory ? sourceFiles(`${folder}${name}/`) : [`${folder}${name}`]
  );
}

Deno.test("each map, set, queue and cache of the service has its bound", () => {
  const found: Record<string, string[]> = {};
  for (const path of sourceFiles("lib/")) {
    const names = [...Deno.readTextFileSync(new URL(path, ROOT)).matchAll(GROWING)].map(([, name = ""]) => name);
    if (names.length > 0) found[path] = [...new Set(names)].sort();
  }
  const listed = Object.entries(BOUNDS).map(([path, fields]) => [path, Object.keys(fields).sort()]);
  assert.deepEqual(found, Object.fromEntries(listed));
});

Deno.test("each bound that is named is in the table", () => {
  const table = new Set([...Object.keys(IN_HEAP), ...Object.keys(BESIDE_HEAP)]);
  const named = Object.values(BOUNDS).flatMap((fields) => Object.values(fields)).filter((name) =>
    !name.startsWith("(")
  );
  assert.deepEqual(named.filter((name) => !table.has(name)), []);
});

for (const [name, { path, declared }] of [...Object.entries(IN_HEAP), ...Object.entries(BESIDE_HEAP)]) {
  Deno.test(`the bound of ${name} is that of ${path}`, () => {
    assert.ok(Deno.readTextFileSync(new URL(path, ROOT)).includes(declared), declared);
  });
}

function sumOf(bounds: Readonly<Record<string, Bound>>): number {
  return Object.values(bounds).reduce((sum, { entries, bytes }) => sum + entries * bytes, 0);
}

/** A flag of V8 in MiB, in bytes. */
function flagBytes(name: string): number {
  return Number(v8Flags.find((flag) => flag.startsWith(`--${name}=`))?.split("=")[1]) * MIB;
}

Deno.test("all that is remembered and under way, at its fullest, fits the old generation of V8's heap", () => {
  const oldGeneration = flagBytes("max-old-space-size");
  const sum = BASE_HEAP_BYTES + sumOf(IN_HEAP);
  assert.ok(sum <= oldGeneration, `${sum / MIB} MiB of ${oldGeneration / MIB}`);
});

Deno.test("heap, buffers, connections and the runtime itself fit 200 MiB together", () => {
  // V8's young generation has three semi-spaces.
  const heap = flagBytes("max-old-space-size") + 3 * flagBytes("max-semi-space-size");
  const sum = BASE_BYTES + heap + sumOf(BESIDE_HEAP);
  assert.ok(sum <= LIMIT_BYTES, `${sum / MIB} MiB`);
});

// What the page says in numbers, and where the number stands in the code.
const NUMBERS: readonly (readonly [row: string, said: string, path: string, declared: string])[] = [
  ["Body of a request", "64 KiB", "lib/http/app.ts", "MAX_JSON_BYTES = 64 * 1024"],
  ["Body of a webhook", "1 MiB", "lib/http/app.ts", "MAX_WEBHOOK_BYTES = 1024 * 1024"],
  ["Large bodies at once", "50", "lib/http/body.ts", "MAX_LARGE_BODIES = 50"],
  ["One request", "10 s", "lib/http/app.ts", "DEADLINE_MS = 10_000"],
  ["Clients counted in memory", "5,000", "lib/admission/rate_limit.ts", "MAX_CLIENTS = 5000"],
  ["Exchanges at once", "4,000", "lib/admission/concurrency.ts", "total: 4000"],
  ["… per homeserver", "1,000", "lib/admission/concurrency.ts", "perServer: 1000"],
  ["… of servers that are not named", "3,000", "lib/admission/concurrency.ts", "unnamed: 3000"],
  ["Connections to servers that are not named", "272", "lib/net/client.ts", "MAX_CONNECTIONS_PER_RULE = 272"],
  ["Connections to servers that are not named", "64", "lib/net/client.ts", "MAX_CONNECTIONS_PER_HOST = 64"],
  ["Leave events per user", "20", "lib/leave/job_limits.ts", "MAX_JOBS_PER_USER = 20"],
  ["… per homeserver that is not named", "1,000", "lib/leave/job_limits.ts", "MAX_JOBS_PER_HOMESERVER = 1000"],
  ["… in all", "20,000", "lib/leave/job_limits.ts", "MAX_JOBS = 20_000"],
  ["… in all", "37 MiB", "lib/leave/job_bytes.ts", "MAX_JOB_BYTES = 37 * 1024 * 1024"],
  ["… in all", "4,000", "lib/leave/job_limits.ts", "MAX_UNLISTED_JOBS = 4000"],
  ["Delay ID", "255 bytes", "lib/matrix/delayed_events.ts", "MAX_DELAY_ID_BYTES = 255"],
];

for (const [row, said, path, declared] of NUMBERS) {
  Deno.test(`docs/security.md says of "${row}": ${said}, as ${path} has it`, () => {
    const line = page.split("\n").find((line) => line.startsWith(`| ${row}`));
    assert.ok(line?.split("|")[2]?.includes(said) === true, line ?? "no such row");
    assert.ok(Deno.readTextFileSync(new URL(path, ROOT)).includes(declared), declared);
  });
}
