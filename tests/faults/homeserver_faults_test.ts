// Homeservers that limit, fail or fall silent for half a minute while a service has jobs of their users: those who left
// are sent off once that is over, and meanwhile the homeserver is left in peace.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import { TemporaryDirectory } from "../../testing/surroundings.ts";
import { SynapseLimiter } from "../../testing/scripted_homeserver.ts";
import { refusal, type Treatment } from "../../testing/delayed_events.ts";
import { Stage, summary } from "./stage.ts";

const PEOPLE = 40;
const TROUBLE_AFTER_MS = 4000;
const TROUBLE_MS = 25_000;
// Pauses grow to half a minute while a homeserver is down.
const SETTLED_WITHIN_MS = 90_000;
const TIMEOUT_MS = 5000;
const WELL: Treatment = { latencyMs: 20 };

/** One call at a time, with pauses that double: this many, and those that were under way when it began. */
const MAX_PROBES = 20;

const TROUBLES: readonly { readonly what: string; readonly treat: () => Treatment; readonly maxCalls: number }[] = [
  {
    what: "answers 429 to everything",
    treat: () => ({ latencyMs: 500, refusal: refusal(429, "M_LIMIT_EXCEEDED", { "retry-after": "2" }) }),
    maxCalls: MAX_PROBES,
  },
  {
    what: "answers 503",
    treat: () => ({ ...WELL, refusal: refusal(503, "M_UNKNOWN") }),
    maxCalls: MAX_PROBES,
  },
  {
    what: "is behind a proxy that answers 502",
    treat: () => ({
      ...WELL,
      refusal: { status: 502, headers: { "content-type": "text/html" }, body: "<h1>502</h1>" },
    }),
    maxCalls: MAX_PROBES,
  },
  { what: "answers nothing", treat: () => ({ ...WELL, silence: "deaf" }), maxCalls: MAX_PROBES },
  {
    what: "does what it is asked, and answers nothing",
    treat: () => ({ ...WELL, silence: "mute" }),
    maxCalls: MAX_PROBES,
  },
];

Deno.test("homeservers that limit, fail or fall silent for a while cost no event", async () => {
  await using directory = new TemporaryDirectory();
  await using stage = await Stage.build({
    replicas: ["service"],
    store: { LIVEKIT_STATE_DIR: directory.path },
    homeservers: TROUBLES.length + 1,
    rooms: 5,
    delaysMs: [600_000, 3_600_000],
    maxStayMs: 10_000,
  });
  const { homeservers, people, replicas: [service] } = stage;
  assert.ok(service);
  // The last one has Synapse's default limit, and nothing else.
  const limiter = new SynapseLimiter(1, 5);
  const limited = homeservers.names.at(-1) ?? "";
  const calls = new Map<string, number>();
  const limitedCalls = { served: 0, refused: 0 };
  let isTroubled = false;
  homeservers.treat = (_, { homeserver }) => {
    if (homeserver === limited) {
      const retryAfterMs = limiter.take(performance.now());
      limitedCalls[retryAfterMs === null ? "served" : "refused"]++;
      if (retryAfterMs === null) return WELL;
      const seconds = String(Math.ceil(retryAfterMs / 1000));
      return { latencyMs: 500, refusal: refusal(429, "M_LIMIT_EXCEEDED", { "retry-after": seconds }) };
    }
    if (!isTroubled) return WELL;
    calls.set(homeserver, (calls.get(homeserver) ?? 0) + 1);
    return TROUBLES[homeservers.names.indexOf(homeserver)]?.treat() ?? WELL;
  };
  await service.start();
  people.begin(PEOPLE);
  await sleepFor(TROUBLE_AFTER_MS);
  isTroubled = true;
  await sleepFor(TROUBLE_MS);
  isTroubled = false;
  await sleepFor(TIMEOUT_MS);
  await stage.end(SETTLED_WITHIN_MS);
  assert.equal(await service.stop(), 0);

  const verdict = stage.judge();
  const counts = TROUBLES.map(({ what }, index) => `${what}: ${calls.get(homeservers.names[index] ?? "") ?? 0}`);
  console.log(
    `${summary("Homeservers in trouble", [stage.kills], [verdict])}; calls meanwhile ${
      counts.join(", ")
    }; at Synapse's ` +
      `limit ${limitedCalls.served} served, ${limitedCalls.refused} refused`,
  );
  assert.deepEqual([verdict.violations, verdict.repeats], [[], []]);
  for (const [index, { what, maxCalls }] of TROUBLES.entries()) {
    const count = calls.get(homeservers.names[index] ?? "") ?? 0;
    assert.ok(count > 0 && count <= maxCalls, `one that ${what} was asked ${count} times`);
  }
  assert.ok(limitedCalls.refused < limitedCalls.served / 5, JSON.stringify(limitedCalls));
});
