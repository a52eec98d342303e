// What the homeservers saw, judged: no acknowledged event is lost, none fires or is sent while its participant is there,
// and none is sent twice unless the first answer was lost.

import type { ArrivedCall } from "../../testing/delayed_events.ts";
import type { Story } from "./people.ts";
import type { Life } from "./replica.ts";

/** How the stories ended. */
export interface Verdict {
  readonly acknowledged: number;
  readonly sentOnce: number;
  /** Sent again by a later life or another replica, since the answer to the first was lost with its process. */
  readonly sentAgain: number;
  /** Of those, how often the answer was given a moment before the kill: it may have come, and not been noted. */
  readonly unnoted: number;
  /** Replaced by another event of the same client. */
  readonly superseded: number;
  /** Lost, or sent or fired when they should not have been. */
  readonly violations: readonly string[];
  /** Sent again though the first answer was not lost. */
  readonly repeats: readonly string[];
}

/** Where a job stands, as far as can be told from outside. */
export type Standing = "waiting" | "connected" | "leaving" | null;

// On a busy machine it takes a process a while to read an answer, and to have it on the disk.
const NOTED_WITHIN_MS = 1000;

/** Judges stories that should all have ended. */
export function judge(stories: readonly Story[], lives: readonly Life[]): Verdict {
  const killedAt = new Map(lives.map(({ name, killedAt }) => [name, killedAt]));
  const counts = { acknowledged: 0, sentOnce: 0, sentAgain: 0, unnoted: 0, superseded: 0 };
  const violations: string[] = [];
  const repeats: string[] = [];
  for (const story of stories) {
    const { event } = story;
    const fault = faultOf(story);
    if (fault !== null) violations.push(`${fault}: ${tell(story)}`);
    if (story.acknowledgedAt === null) continue;
    counts.acknowledged++;
    if (story.supersededAt !== null) counts.superseded++;
    const sends = event.calls.filter(({ action }) => action === "send");
    const first = sends.findIndex(({ status }) => status === 200);
    const taken = sends[first];
    if (taken === undefined) continue;
    if (first === sends.length - 1) counts.sentOnce++;
    else {
      counts.sentAgain++;
      const loss = lossOf(taken, killedAt.get(taken.life) ?? null);
      if (loss === "unnoted") counts.unnoted++;
      if (loss === "none") repeats.push(`sent twice: ${tell(story)}`);
    }
  }
  return { ...counts, violations, repeats };
}

/** Whether an answer can have got lost. */
function lossOf({ answeredAt }: ArrivedCall, killedAt: number | null): "lost" | "unnoted" | "none" {
  if (answeredAt === null) return "lost";
  if (killedAt === null || killedAt > answeredAt + NOTED_WITHIN_MS) return "none";
  return killedAt <= answeredAt ? "lost" : "unnoted";
}

function faultOf({ event, visit, acknowledgedAt, supersededAt }: Story): string | null {
  const { end } = event;
  if (end?.how === "sent" && (visit.joinedAt === null || end.at < visit.joinedAt)) return "sent before they came";
  if (end?.how === "sent" && (visit.leftAt === null || end.at < visit.leftAt)) return "sent while they were there";
  if (acknowledgedAt === null || supersededAt !== null) return null;
  // It took the client longer to be heard than the event had.
  if (end?.how === "fired" && end.at < acknowledgedAt) return null;
  if (end?.how === "fired") return visit.leftAt === null || end.at < visit.leftAt ? "fired under them" : "left to fire";
  return end === null ? "lost" : null;
}

/** Where the job of a story stands: what the process of this life has shown of it. */
export function standingOf({ event, visit, acknowledgedAt, supersededAt }: Story, life: string): Standing {
  if (acknowledgedAt === null || supersededAt !== null) return null;
  const sends = event.calls.filter((call) => call.action === "send" && call.life === life);
  const last = sends.at(-1);
  if (last !== undefined) return last.answeredAt !== null && last.status < 429 ? null : "leaving";
  if (event.end !== null) return null;
  if (event.calls.some((call) => call.action === "restart" && call.life === life && call.status === 200)) {
    return "connected";
  }
  return visit.joinedAt === null ? "waiting" : null;
}

/** A story on one line, times in ms since the event was handed over. */
export function tell({ event, visit, acknowledgedAt, supersededAt }: Story): string {
  const from = acknowledgedAt ?? 0;
  const ago = (at: number | null) => at === null ? "-" : Math.round(at - from);
  const calls = event.calls.map(({ action, life, at, answeredAt, status }) =>
    `${action}@${ago(at)}-${ago(answeredAt)} ${status} by ${life}`
  );
  return `${event.delayId} (${event.delayMs} ms) joined ${ago(visit.joinedAt)} left ${ago(visit.leftAt)} ` +
    `superseded ${ago(supersededAt)} ${event.end?.how ?? "open"} ${ago(event.end?.at ?? null)} [${calls.join(", ")}]`;
}
