// A queue on its own, with a homeserver that answers by the clock.

import type { ActionOutcome, DelayedAction } from "../../../lib/matrix/delayed_events.ts";
import { LeaveCall } from "../../../lib/leave/calls/leave_call.ts";
import { adopt } from "../../../lib/leave/machine/machine.ts";
import { parseIdentity } from "../../../lib/livekit/identity.ts";
import { parseServerName } from "../../../lib/matrix/server_name.ts";
import { sampleJob } from "../sample_jobs.ts";
import { CallQueue } from "../../../lib/leave/calls/call_queue.ts";
import { LocalTokenBuckets, type TokenBuckets } from "../../../lib/leave/calls/token_bucket.ts";
import { SynapseLimiter } from "../../../testing/scripted_homeserver.ts";
import { VirtualTime } from "../../../testing/virtual_time.ts";

export const LATENCY_MS = 20;
const SYNAPSE_PAUSE_MS = 500;
export const DONE: ActionOutcome = { kind: "done" };
export const FAILED: ActionOutcome = { kind: "failed", how: "unreachable" };
export const SILENT: ActionOutcome = { kind: "failed", how: "silent" };

interface Made {
  readonly name: string;
  readonly at: number;
  readonly outcome: ActionOutcome["kind"];
}

/** A queue, and a homeserver that answers as told, or through a limiter. */
export class Bench {
  readonly time = new VirtualTime();
  readonly made: Made[] = [];
  readonly done: { name: string; outcome: ActionOutcome["kind"] }[] = [];
  readonly overloads: { queued: number; perSecond: number }[] = [];
  readonly queue: CallQueue;
  readonly #wants = new Map<LeaveCall, { readonly name: string; readonly isWanted: () => boolean }>();
  answer: () => { outcome: ActionOutcome; afterMs: number };
  inFlight = 0;
  mostInFlight = 0;

  constructor(limiter = new SynapseLimiter(Infinity, 1), buckets?: TokenBuckets) {
    this.answer = () => {
      const retryAfterMs = limiter.take(this.time.elapsed());
      return retryAfterMs === null
        ? { outcome: DONE, afterMs: LATENCY_MS }
        : { outcome: { kind: "limited", retryAfterMs }, afterMs: SYNAPSE_PAUSE_MS };
    };
    this.queue = new CallQueue("hs.test", {
      owner: {
        isWanted: (call) => this.#wants.get(call)?.isWanted() === true,
        done: (call, { kind }) => this.done.push({ name: this.#nameOf(call), outcome: kind }),
      },
      make: (call) => this.#make(call),
      buckets: buckets ?? new LocalTokenBuckets(this.time.monotonicNow),
      clock: this.time,
      random: () => 0.5,
      onOverload: (_, queued, perSecond) => this.overloads.push({ queued, perSecond }),
    });
  }

  /** @param user Who it is for: each call is another user's unless that is said, all of one server. */
  add(
    name: string,
    action: DelayedAction = "restart",
    inMs = 3_600_000,
    isWanted: () => boolean = () => true,
    user = `@${name}:hs.test`,
  ): void {
    const homeserver = user.slice(user.indexOf(":") + 1);
    const job = sampleJob(0, {
      homeserver: parseServerName(homeserver) ?? fail(homeserver),
      watched: [parseIdentity(`${user}:DEVICE`) ?? fail(user)],
      timerStartedAt: this.time.monotonicNow(),
      delayMs: inMs,
    });
    const call = new LeaveCall(action, adopt(job, this.time.monotonicNow()).job, null);
    this.#wants.set(call, { name, isWanted });
    this.queue.add(call);
  }

  #make(call: LeaveCall): Promise<ActionOutcome> {
    const { outcome, afterMs } = this.answer();
    this.made.push({ name: this.#nameOf(call), at: this.time.elapsed(), outcome: outcome.kind });
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight);
    return new Promise((resolve) =>
      this.time.after(afterMs, () => {
        this.inFlight--;
        resolve(outcome);
      })
    );
  }

  #nameOf(call: LeaveCall): string {
    return this.#wants.get(call)?.name ?? "";
  }

  /** Adds a call again and again, as a job would do. */
  keepUp(name: string, everyMs: number, slackMs: number): void {
    this.add(name, "restart", slackMs);
    this.time.after(everyMs, () => this.keepUp(name, everyMs, slackMs));
  }

  names(outcome: ActionOutcome["kind"] = "done"): string[] {
    return this.made.filter((call) => call.outcome === outcome).map(({ name }) => name);
  }

  count(outcome: ActionOutcome["kind"], fromMs = 0, toMs = Infinity): number {
    return this.made.filter((call) => call.outcome === outcome && call.at >= fromMs && call.at < toMs).length;
  }
}

function fail(text: string): never {
  throw new TypeError(`no such name: ${text}`);
}
