// The names under which things stand in Redis, and how much may stand there.

/** The hash of release 0.6.0. Its name is the tag of all other keys, so that they share one slot of a cluster. */
export const JOBS = "lk-jwt:jobs";
/** Prefix of all other keys. */
export const TAG = `{${JOBS}}`;

/** All fields of the hash, sorted. */
export const FIELDS = `${TAG}:fields`;

/** Keys that every script gets. */
export const KEYS: readonly string[] = [
  JOBS,
  FIELDS,
  `${TAG}:owners`,
  `${TAG}:replicas`,
  `${TAG}:free`,
  `${TAG}:fence`,
  `${TAG}:sessions`,
];

/** The channel and the set by which a replica hears of rooms for which something has arrived. */
export function wakeKey(replica: string): string {
  return `${TAG}:wake:${replica}`;
}

/** The channel that tells all replicas of rooms to be claimed. */
export const FREE_CHANNEL = `${TAG}:free`;

/** The token bucket of a homeserver. */
export function bucketKey(homeserver: string): string {
  return `${TAG}:bucket:${homeserver}`;
}

/** What a room's list keeps at most. */
export const MAX_EVENTS = 1000;
/** How long a list is kept after its last entry: as long as the manager remembers leaves. */
export const EVENTS_TTL_MS = 5 * 60_000;
