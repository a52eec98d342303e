// Wrong versions of the service, each made by a fault at its edge that amounts to the mistake it is named after.

import type { LeaveManagerDeps } from "../../lib/leave/manager.ts";
import type { WorldOptions } from "./world.ts";

/** What is done to a service; nothing is the right version. */
export type Sabotage = Pick<WorldOptions, "sabotage" | "sabotageWebhook">;

type Sfu = LeaveManagerDeps["sfu"];

function withSfu(change: (sfu: Sfu) => Partial<Sfu>): Sabotage {
  return {
    sabotage: (deps) => ({
      ...deps,
      sfu: {
        getParticipant: (...args) => deps.sfu.getParticipant(...args),
        listParticipants: (...args) => deps.sfu.listParticipants(...args),
        roomAge: (...args) => deps.sfu.roomAge(...args),
        ...change(deps.sfu),
      },
    }),
  };
}

/** An SFU that can't be asked is taken for an empty one. */
export const UNKNOWN_IS_ABSENT: Sabotage = withSfu((sfu) => ({
  listParticipants: (...args) => sfu.listParticipants(...args).catch(() => new Map()),
  getParticipant: (...args) => sfu.getParticipant(...args).catch(() => ({ outcome: "absent" })),
}));

/** Webhooks are believed: nobody is looked up after one. */
export const SEND_WITHOUT_A_LOOK: Sabotage = withSfu(() => ({
  getParticipant: () => Promise.resolve({ outcome: "absent" }),
}));

/** Only webhooks tell who has gone. */
export const NO_LISTS: Sabotage = withSfu(() => ({
  listParticipants: () => Promise.reject(new Error("nobody asks")),
}));

/** Whoever connected by a legacy name is not found. */
export const ONE_IDENTITY: Sabotage = withSfu((sfu) => ({
  getParticipant: (room, identity, signal) =>
    identity.startsWith("@") ? Promise.resolve({ outcome: "absent" }) : sfu.getParticipant(room, identity, signal),
}));

/** A homeserver that is down for a moment ends the job. */
export const FAILED_IS_GONE: Sabotage = {
  sabotage: (deps) => ({
    ...deps,
    delayedEvents: {
      apiOf: (...args) => deps.delayedEvents.apiOf(...args),
      act: async (...args) => {
        const result = await deps.delayedEvents.act(...args);
        return result.outcome.kind === "failed" ? { ...result, outcome: { kind: "gone", how: "not-found" } } : result;
      },
    },
  }),
};

/** A missing route (404 M_UNRECOGNIZED) is taken for a missing event. */
export const UNRECOGNIZED_IS_GONE: Sabotage = {
  sabotage: (deps) => ({
    ...deps,
    delayedEvents: {
      apiOf: (...args) => deps.delayedEvents.apiOf(...args),
      act: async (...args) => {
        const result = await deps.delayedEvents.act(...args);
        return result.outcome.kind === "refused" ? { ...result, outcome: { kind: "gone", how: "not-found" } } : result;
      },
    },
  }),
};

/** Everything that is scheduled comes at one and a half times its time. */
export const LATE_TIMERS: Sabotage = {
  sabotage: (deps) => ({
    ...deps,
    clock: { ...deps.clock, setTimer: (run, delayMs) => deps.clock.setTimer(run, delayMs * 1.5) },
  }),
};

/** The end of a session by DUPLICATE_IDENTITY is taken for a leave. */
export const RECONNECT_IS_A_LEAVE: Sabotage = {
  sabotageWebhook: (manager) => ({
    receive: (event) =>
      manager.receive(
        "reason" in event && event.reason === "DUPLICATE_IDENTITY" ? { ...event, reason: "CLIENT_INITIATED" } : event,
      ),
  }),
};
