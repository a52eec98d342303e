// What jobs take of the memory: their number says little, since one with the longest texts is twice an ordinary one.

import type { Delegation } from "./machine/job.ts";

/**
 * Jobs at work, as {@linkcode jobBytes} counts them: 20,000 usual ones. Everything else fits beside them into the 200 MiB
 * that packagers allow the service.
 */
export const MAX_JOB_BYTES = 37 * 1024 * 1024;

// Objects, places in the indexes, in the timers, in the call queue and in a store.
const BYTES_PER_JOB = 1000;
// A participant SID, and the session's place.
const BYTES_PER_SESSION = 150;
const BYTES_PER_TEXT = 16;

/** What a job takes at most, in bytes, whatever becomes of it. */
export function jobBytes({ room, identity, watched, homeserver, delayId }: Delegation): number {
  // Room and identity stand in the keys of index and store too, and watched identities in the sessions.
  const texts = 3 * (textBytes(room) + textBytes(identity)) + textBytes(homeserver) + textBytes(delayId);
  return watched.reduce((sum, other) => sum + BYTES_PER_SESSION + 2 * textBytes(other), BYTES_PER_JOB + texts);
}

// One character beyond Latin-1 makes all of a text's characters take two bytes.
function textBytes(text: string): number {
  return BYTES_PER_TEXT + (BEYOND_LATIN_1.test(text) ? 2 : 1) * text.length;
}

const BEYOND_LATIN_1 = /[\u0100-\uffff]/;
