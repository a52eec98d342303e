// Stored jobs for the tests of stores.

import type { Identity, RoomAlias } from "../../lib/livekit/identity.ts";
import { parseServerName } from "../../lib/matrix/server_name.ts";
import type { StoredJob, StoreListener } from "../../lib/leave/store/store.ts";

/** A job that differs from the others in its number. */
export function sampleJob(n: number, changes: Partial<StoredJob> = {}): StoredJob {
  const homeserver = parseServerName("example.com");
  if (homeserver === null) throw new TypeError("not a server name");
  const identity = `identity-${n}` as Identity;
  return {
    room: `room-${n % 100}` as RoomAlias,
    identity,
    watched: [identity],
    homeserver,
    delayId: `syd_${n}`,
    delayMs: 10_000,
    state: "connected",
    sessions: { [identity]: `PA_${n}` },
    timerStartedAt: Date.now(),
    delegatedAt: Date.now(),
    connectedAt: null,
    waitUntil: Date.now() + 10_000,
    hint: "none",
    absentSince: null,
    ...changes,
  };
}

/** A listener that remembers what it was given. */
export function recordingListener(): StoreListener & { readonly adopted: StoredJob[] } {
  const adopted: StoredJob[] = [];
  return {
    adopted,
    isFull: () => false,
    isBusy: () => false,
    adopt: (jobs) => void adopted.push(...jobs),
    release() {},
    deliver() {},
    gap() {},
  };
}
