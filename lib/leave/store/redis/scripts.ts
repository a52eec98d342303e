// The Lua scripts: everything that must happen at once, or not at all, when several replicas share one Redis; and the keys
// that they work on.

import accept from "./accept.lua" with { type: "text" };
import beat from "./beat.lua" with { type: "text" };
import prelude from "./prelude.lua" with { type: "text" };
import read from "./read.lua" with { type: "text" };
import release from "./release.lua" with { type: "text" };
import scan from "./scan.lua" with { type: "text" };
import takeToken from "./take_token.lua" with { type: "text" };
import trim from "./trim.lua" with { type: "text" };
import write from "./write.lua" with { type: "text" };

/** The hash of release 0.6.0. Its name is the tag of all other keys, so that they share one slot of a cluster. */
export const JOBS = "lk-jwt:jobs";
/** Prefix of all other keys. */
export const TAG = `{${JOBS}}`;

/** Keys that every script but that of the token bucket gets. */
export const KEYS: readonly string[] = [
  JOBS,
  `${TAG}:leases`,
  `${TAG}:shards`,
  `${TAG}:fence`,
  `${TAG}:known`,
  `${TAG}:ownership`,
];

const BODIES = {
  leaveAccept: accept,
  leaveBeat: beat,
  leaveRead: read,
  leaveRelease: release,
  leaveScan: scan,
  leaveTrim: trim,
  leaveWrite: write,
};

/** Scripts that work on the {@link KEYS}. */
export type StoreScript = keyof typeof BODIES;
/** All scripts. */
export type ScriptName = StoreScript | "leaveTakeToken";

/** The scripts as ioredis wants them. */
export const SCRIPTS: Readonly<Record<string, { readonly lua: string; readonly numberOfKeys: number }>> = {
  ...Object.fromEntries(
    Object.entries(BODIES).map(([name, body]) => [name, { lua: prelude + body, numberOfKeys: KEYS.length }]),
  ),
  leaveTakeToken: { lua: takeToken, numberOfKeys: 1 },
};
