// Everything that can grow is bounded, and docs/security.md says by what: each map, set, queue and cache that lives as
// long as the process stands here, with the row of the page that bounds it or the reason why it needs none. A new one
// fails this test until it has its row.

import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);
const page = Deno.readTextFileSync(new URL("docs/security.md", ROOT));

const GROWING =
  /^\s+(?:readonly )?(?:this\.)?#(\w+)(?:: .+?)? = (?:new (?:Map|Set|Fifo|LoadingCache|Semaphore|BoundedMap|IdlePool|HandIns)\b|\[\]|heapOf)/gm;

const IN_FLIGHT = "Exchanges at once";
const IN_ALL = "… in all";
const NOT_TAKEN = "Events handed over, and changes, that the disk or Redis has not taken";

// The beginning of a row, or a reason in brackets.
const BOUNDS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "lib/admission/concurrency.ts": {
    perServer: IN_FLIGHT,
    provenAt: "Servers that are known to have vouched for somebody",
  },
  "lib/async/deadline.ts": { pending: "One request, from its head to its answer" },
  "lib/cache/loading_cache.ts": { entries: "(each cache has its row)", flights: "Look-ups under way" },
  "lib/config/environment.ts": { values: "(the configuration)" },
  "lib/http/body.ts": { large: "Bodies that are on their way", connections: "(one per open connection)" },
  "lib/admission/rate_limit.ts": { keys: "Clients that are counted in memory" },
  "lib/leave/calls/calls.ts": {
    queues: "Homeservers whose pace is remembered",
    underWay: "A homeserver asked to restart or send events",
  },
  "lib/leave/delegations.ts": { support: "Servers of which is known whether they have delayed events" },
  "lib/async/queue.ts": { items: "(each queue has its row)" },
  "lib/leave/job_limits.ts": { reached: "(the limits)", underWay: IN_FLIGHT },
  "lib/leave/presence/check_queue.ts": { lines: IN_ALL, suspects: IN_ALL, timeouts: "(eight times)" },
  "lib/leave/manager.ts": { listings: IN_ALL, unconfirmed: IN_FLIGHT },
  "lib/leave/calls/turns.ts": { servers: "A homeserver asked to restart or send events" },
  "lib/leave/calls/token_bucket.ts": { buckets: "Homeservers whose pace is remembered" },
  "lib/leave/presence/recent_leaves.ts": { leaves: "Participants that are remembered to have left" },
  "lib/leave/store/redis/changes.ts": { changes: NOT_TAKEN, removals: "Removals that Redis has not been told" },
  "lib/leave/store/redis/claims.ts": { claims: IN_ALL },
  "lib/leave/store/redis/connection.ts": { disconnect: "(two connections)" },
  "lib/leave/store/redis/hand_ins.ts": { byField: NOT_TAKEN, countByRoom: NOT_TAKEN },
  "lib/leave/store/redis/rooms.ts": { jobs: IN_ALL },
  "lib/leave/store/redis/store.ts": { handIns: NOT_TAKEN, unsentEvents: "Webhook events held while Redis is away" },
  "lib/leave/store/redis/upkeep.ts": { arrivals: IN_ALL, doubted: IN_ALL },
  "lib/leave/job_index.ts": {
    byEvent: IN_ALL,
    byKey: IN_ALL,
    byRoom: IN_ALL,
    perHost: IN_ALL,
    perUser: IN_ALL,
  },
  "lib/leave/store/sqlite/writer.ts": { changes: NOT_TAKEN },
  "lib/leave/presence/room_poll.ts": { failed: IN_ALL },
  "lib/leave/wake_timers.ts": { current: IN_ALL, queue: IN_ALL },
  "lib/livekit/room_service.ts": { tokens: "(one per kind of grant without a room)" },
  "lib/livekit/rooms.ts": { existing: "Rooms that are known to exist" },
  "lib/livekit/webhook_receiver.ts": { seen: "Webhook events that are remembered" },
  "lib/matrix/client_discovery.ts": { outcomes: "Servers whose address is remembered" },
  "lib/admission/homeserver_policy.ts": { allowedNames: "(the configuration)", blockedNames: "(the configuration)" },
  "lib/matrix/openid.ts": { verified: "Verified tokens that are remembered" },
  "lib/matrix/federation_client.ts": { unreachable: "A homeserver that cannot be reached" },
  "lib/matrix/server_discovery.ts": { srvAnswers: "Servers whose address is remembered" },
  "lib/matrix/server_well_known.ts": { cache: "Servers whose address is remembered" },
  "lib/net/client.ts": { permits: "Connections per host and port", idle: "Idle outbound connections" },
  "lib/net/idle_pool.ts": { pools: "Idle outbound connections", all: "Idle outbound connections" },
  "lib/cache/bounded_map.ts": { entries: "(each map has its row)" },
  "lib/doctor/startup_checks.ts": { findings: "(one per check and named server)" },
  "lib/async/semaphore.ts": { held: IN_FLIGHT, waiting: IN_FLIGHT },
};

function sourceFiles(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory }) =>
    isDirectory ? sourceFiles(`${folder}${name}/`) : [`${folder}${name}`]
  );
}

Deno.test("each map, set, queue and cache of the service has its bound in docs/security.md", () => {
  const found: Record<string, string[]> = {};
  for (const path of sourceFiles("lib/")) {
    const names = [...Deno.readTextFileSync(new URL(path, ROOT)).matchAll(GROWING)].map(([, name = ""]) => name);
    if (names.length > 0) found[path] = [...new Set(names)].sort();
  }
  const listed = Object.entries(BOUNDS).map(([path, fields]) => [path, Object.keys(fields).sort()]);
  assert.deepEqual(found, Object.fromEntries(listed));
});

Deno.test("each bound that is named stands in docs/security.md", () => {
  const named = new Set(Object.values(BOUNDS).flatMap((fields) => Object.values(fields)));
  for (const row of named) {
    if (row.startsWith("(")) continue;
    assert.ok(page.includes(`\n| ${row}`), row);
  }
});

// What the page says in numbers, and where the number stands in the code.
const NUMBERS: readonly (readonly [row: string, said: string, path: string, declared: string])[] = [
  ["URL of a request", "8192 characters", "lib/http/routes.ts", "MAX_URL_CHARACTERS = 8192"],
  ["Body of a request", "64 KiB", "lib/http/app.ts", "MAX_JSON_BYTES = 64 * 1024"],
  ["Body of a webhook", "1 MiB", "lib/http/app.ts", "MAX_WEBHOOK_BYTES = 1024 * 1024"],
  ["Bodies that are on their way, of more than 8 KiB", "500", "lib/http/body.ts", "MAX_LARGE_BODIES = 500"],
  ["One request", "10 s", "lib/http/app.ts", "DEADLINE_MS = 10_000"],
  ["Clients that are counted", "50,000", "lib/admission/rate_limit.ts", "MAX_CLIENTS = 50_000"],
  ["Exchanges at once", "4000", "lib/admission/concurrency.ts", "total: 4000"],
  ["… per homeserver, however", "1000", "lib/admission/concurrency.ts", "perServer: 1000"],
  ["… of servers that", "3000", "lib/admission/concurrency.ts", "unnamed: 3000"],
  ["… and that vouched", "2000", "lib/admission/concurrency.ts", "unproven: 2000"],
  ["Servers that are known to have", "10,000", "lib/admission/concurrency.ts", "MAX_PROVEN = 10_000"],
  ["Events of webhooks that wait", "10,000", "lib/livekit/webhook_queue.ts", "MAX_WAITING = 10_000"],
  ["Webhook events that are remembered", "10,000", "lib/livekit/webhook_receiver.ts", "REMEMBERED_EVENTS = 10_000"],
  ["Same warning", "1000", "lib/log/throttle.ts", "MAX_KEYS = 1000"],
  ["Connections per host", "64", "lib/net/client.ts", "MAX_CONNECTIONS_PER_HOST = 64"],
  ["Connections per host", "256", "lib/net/client.ts", "MAX_CONNECTIONS_TO_KNOWN_HOST = 256"],
  ["Idle outbound", "1000, for 25 s", "lib/net/client.ts", "MAX_IDLE_CONNECTIONS = 1000"],
  ["Idle outbound", "64 of one host for 2 s", "lib/net/idle_pool.ts", "EXTRA_IDLE_MS = 2000"],
  ["Any answer", "a head of 16 KiB", "lib/net/http1_reader.ts", "MAX_HEAD_BYTES = 16 * 1024"],
  ["Any answer", "3 interim answers", "lib/net/http1_reader.ts", "MAX_INTERIM_ANSWERS = 3"],
  ["Any answer", "1 KiB of trailers", "lib/net/http1_reader.ts", "MAX_TRAILER_BYTES = 1024"],
  ["Any answer", "1024 pieces", "lib/net/http1_reader.ts", "FREE_PIECES = 1024"],
  ["A well-known document", "50 KiB", "lib/matrix/well_known.ts", "MAX_BODY_BYTES = 50 * 1024"],
  ["SRV records", "16", "lib/net/srv.ts", "MAX_RECORDS = 16"],
  ["A homeserver that cannot", "5000", "lib/matrix/federation_client.ts", "MAX_BREAKERS = 5000"],
  ["Verified tokens", "10,000", "lib/matrix/openid.ts", "CACHED_TOKENS = 10_000"],
  ["Servers whose address", "5000", "lib/matrix/server_well_known.ts", "CACHED_SERVERS = 5000"],
  ["Servers whose address", "5000", "lib/matrix/server_discovery.ts", "CACHED_SRV_NAMES = 5000"],
  ["Servers whose address", "5000", "lib/matrix/client_discovery.ts", "CACHED_SERVERS = 5000"],
  ["Servers of which is known", "1000", "lib/leave/delegations.ts", "CACHED_SERVERS = 1000"],
  ["LiveKit's answer", "list of a room 16 MiB", "lib/livekit/room_service.ts", "MAX_LIST_BYTES = 16 * 1024 * 1024"],
  ["Rooms that are known", "10,000", "lib/livekit/rooms.ts", "CACHED_ROOMS = 10_000"],
  ["Leave events per user", "20", "lib/leave/job_limits.ts", "MAX_JOBS_PER_USER = 20"],
  ["… per homeserver that", "1000", "lib/leave/job_limits.ts", "MAX_JOBS_PER_HOMESERVER = 1000"],
  ["… in all", "50,000", "lib/leave/job_limits.ts", "MAX_JOBS = 50_000"],
  ["… in all", "past 20,000", "lib/leave/job_limits.ts", "MAX_UNLISTED_JOBS = 20_000"],
  ["Identities that one event", "4", "lib/leave/machine/job.ts", "MAX_WATCHED = 4"],
  ["Participants that are", "20,000", "lib/leave/presence/recent_leaves.ts", "MAX_REMEMBERED = 20_000"],
  ["LiveKit asked about", "24 at once", "lib/leave/presence/check_queue.ts", "CHECKS_AT_ONCE = 24"],
  ["A homeserver asked to", "32 at once", "lib/leave/calls/call_queue.ts", "MAX_IN_FLIGHT = 32"],
  ["Homeservers whose pace", "1000", "lib/leave/calls/calls.ts", "MAX_QUEUES = 1000"],
  ["Homeservers whose pace", "2000", "lib/leave/calls/token_bucket.ts", "MAX_BUCKETS = 2000"],
  ["Removals that Redis", "20,000", "lib/leave/store/redis/changes.ts", "MAX_REMOVALS = 20_000"],
  ["Webhook events held", "2000", "lib/leave/store/redis/store.ts", "MAX_UNSENT_EVENTS = 2000"],
  ["Webhook events in Redis", "1000 per room", "lib/leave/store/redis/keys.ts", "MAX_EVENTS = 1000"],
  ["A command to Redis", "1.5 s", "lib/redis/client.ts", "COMMAND_TIMEOUT_MS = 1500"],
];

for (const [row, said, path, declared] of NUMBERS) {
  Deno.test(`"${row}" is ${said}, as in ${path}`, () => {
    const line = page.split("\n").find((line) => line.startsWith(`| ${row}`));
    assert.ok(line?.split("|")[2]?.includes(said) === true, line ?? "no such row");
    assert.ok(Deno.readTextFileSync(new URL(path, ROOT)).includes(declared), declared);
  });
}
