// What a job knows of its participant, as the events that would tell it: for a replica that works on the same job and has
// heard nothing of them.

import type { ParticipantEvent, StoredJob } from "./store.ts";

/**
 * The last events of a job's participant.
 *
 * @param createdAt Wall clock, ms: when the job knew of them.
 */
export function newsOf({ room, identity, state, sessions, hint }: StoredJob, createdAt: number): ParticipantEvent[] {
  const joined = Object.entries(sessions).map(([identity, sid]) => {
    return { type: "joined", room, identity, sid, createdAt } as const;
  });
  const hasLeft = state === "leaving" || hint === "left";
  // Which session that was, the job does not keep.
  return hasLeft ? [...joined, { type: "left", room, identity, sid: "", reason: "", createdAt }] : joined;
}
