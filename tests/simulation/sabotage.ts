// Wrong versions of the service, each made by a fault at its edge that amounts to the mistake it is named after.

import type { LeaveManagerDeps } from "../../lib/leave/manager.ts";
import type { WorldOptions } from "./world.ts";

/** What is done to a service; nothing is the right version. */
export type Sabotage = Pick<WorldOptions, "sabotage" | "sabotageWebhook">;

type Sfu = LeaveManagerDeps["sfu"];
type Events = LeaveManagerDeps["delayedEvents"];

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

/** Webhooks are believed: nobody is checked after one. */
export const SEND_WITHOUT_A_CHECK: Sabotage = withSfu(() => ({
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

function withEvents(change: (events: Events, clock: LeaveManagerDeps["clock"]) => Partial<Events>): Sabotage {
  return {
    sabotage: (deps) => ({
      ...deps,
      delayedEvents: {
        apiOf: (...args) => deps.delayedEvents.apiOf(...args),
        act: (...args) => deps.delayedEvents.act(...args),
        ...change(deps.delayedEvents, deps.clock),
      },
    }),
  };
}

/** Answers of one kind are taken for the word that there is no such event. */
function takenForGone(kind: "failed" | "refused"): Sabotage {
  return withEvents((events) => ({
    act: async (...args) => {
      const result = await events.act(...args);
      return result.outcome.kind === kind ? { ...result, outcome: { kind: "gone", how: "not-found" } } : result;
    },
  }));
}

/** A homeserver that is down for a moment ends the job. */
export const FAILED_IS_GONE = takenForGone("failed");

/** A missing route (404 M_UNRECOGNIZED) is taken for a missing event. */
export const UNRECOGNIZED_IS_GONE = takenForGone("refused");

/** Everything that is scheduled comes at one and a half times its time. */
export const LATE_TIMERS: Sabotage = {
  sabotage: (deps) => ({
    ...deps,
    clock: { ...deps.clock, setTimer: (run, delayMs) => deps.clock.setTimer(run, delayMs * 1.5) },
  }),
};

/** The end of a session by some reason is taken for another one. */
function misread(reason: string, as: string): Sabotage {
  return {
    sabotageWebhook: (manager) => ({
      receive: (event) =>
        manager.receive("reason" in event && event.reason === reason ? { ...event, reason: as } : event),
    }),
  };
}

export const RECONNECT_IS_A_LEAVE = misread("DUPLICATE_IDENTITY", "CLIENT_INITIATED");
export const FULL_RECONNECT_IS_A_LEAVE = misread("STATE_MISMATCH", "CLIENT_INITIATED");

/** What LiveKit notices 20 s late is taken for what happens now. */
export const DEAD_SESSION_COUNTS = misread("CONNECTION_TIMEOUT", "CLIENT_INITIATED");

/** A client that gives one attempt up is told to have been in the call and left: nothing waits for its next attempt. */
export const ABORT_ENDS_ALL: Sabotage = {
  sabotageWebhook: (manager) => ({
    receive: (event) =>
      manager.receive(
        event.type === "aborted" && event.reason === "CLIENT_INITIATED" ? { ...event, type: "left" } : event,
      ),
  }),
};

/** Replaced events are left to themselves. */
export const NO_CANCELS = withEvents((events) => ({
  act: (homeserver, delayId, action, signal) =>
    action === "cancel"
      ? Promise.resolve({ outcome: { kind: "done" }, step: "left out" })
      : events.act(homeserver, delayId, action, signal),
}));

/** Whoever takes more than five seconds to answer counts as not there, and gets one probe at a time. */
export const SLOW_IS_DOWN = withEvents((events, clock) => ({
  act: (...args) =>
    new Promise((resolve, reject) => {
      const timedOut = { outcome: { kind: "failed", how: "unreachable" }, step: "too slow" } as const;
      clock.setTimer(() => resolve(timedOut), 5000);
      events.act(...args).then(resolve, reject);
    }),
}));
