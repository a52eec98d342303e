// The text form of a stored job, one for all stores: that of element-hq/lk-jwt-service 0.6.0, and further fields of our
// own that it ignores. What 0.6.0 wrote is read as well, and what can't be read is null, never an exception.

import * as v from "valibot";
import { parseIdentity, parseRoomAlias } from "../../livekit/identity.ts";
import { byteLength, parseServerName } from "../../matrix/server_name.ts";
import { type JobKey, keyText, MAX_WATCHED, NO_SESSIONS } from "../machine/job.ts";
import { GIVE_UP_AFTER_MS, MAX_WAIT_MS } from "../machine/schedule.ts";
import type { StoredJob } from "./store.ts";

/** A job as two texts: its key, as {@link fieldOf} gives it, and the rest. */
export interface StoredTexts {
  readonly field: string;
  readonly value: string;
}

const NS_PER_MS = 1_000_000;
// Durations are signed 64-bit ns: the last number of JavaScript below that limit.
const MAX_NS = 9_223_372_036_854_774_784;

// What 0.6.0 writes for "not yet": the zero value of its time type.
const ZERO_TIME = "0001-01-01T00:00:00Z";
const ZERO_TIME_MS = Date.parse(ZERO_TIME);
const LAST_TIME_MS = Date.parse("9999-12-31T23:59:59.999Z");
const RFC_3339 =
  /^(\d{4}-\d\d-\d\d)[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

// Limit of the Matrix specification for identifiers, which delay IDs keep to as well.
const MAX_DELAY_ID_BYTES = 255;
// A host name, a colon and a port.
const MAX_SERVER_NAME_BYTES = 255 + 1 + 5;
// LiveKit's SIDs have 15 characters.
const MAX_SID_BYTES = 64;
/** The longest value that is read, in UTF-16 units: no job has more, were each of its characters escaped. */
export const MAX_VALUE_LENGTH = 32 * 1024;

// 0.6.0 writes these as escapes, where JSON would not need to.
const ESCAPED = /[<>&\u2028\u2029]/g;

/** The name of a room. */
export const Room = parsed(parseRoomAlias);
const Participant = parsed(parseIdentity);
const Homeserver = parsed((input) => isText(input, MAX_SERVER_NAME_BYTES) ? parseServerName(input) : null);
const DelayId = v.custom<string>((input) => isText(input, MAX_DELAY_ID_BYTES) && input !== "." && input !== "..");
const Nanoseconds = v.pipe(v.number(), v.integer(), v.minValue(NS_PER_MS), v.maxValue(MAX_NS));
const Time = v.pipe(v.string(), v.transform(parseTime), v.number());

// A job whose further fields are damaged is still a job: it is looked up before anything is done about it.
const StoredEntry = v.object({
  Params: v.object({
    DelayId,
    DelayTimeout: Nanoseconds,
    ServerName: Homeserver,
    LiveKitRoom: Room,
    LiveKitIdentity: Participant,
  }),
  RestartedAt: Time,
  AcceptedAt: ours(Time),
  HandedInAt: ours(Time),
  State: ours(v.picklist(["waiting", "connected", "leaving"])),
  Watched: ours(v.pipe(v.array(v.unknown()), v.maxLength(MAX_WATCHED), v.array(Participant))),
  Sessions: ours(v.custom<Readonly<Record<string, string>>>(isSessions)),
  ConnectedAt: ours(v.nullable(Time)),
  WaitUntil: ours(Time),
  Hint: ours(v.picklist(["none", "left", "aborted"])),
  AbsentSince: ours(Time),
});

/** The key of a job as text, byte for byte as 0.6.0 writes it: JSON `["room","identity"]`. */
export function fieldOf(key: JobKey): string {
  return escaped(keyText(key));
}

/** Writes a job. Times lose what is below 1 ms. */
export function encodeJob(job: StoredJob): StoredTexts {
  const startedAt = formatTime(job.timerStartedAt);
  const isWaiting = job.state === "waiting";
  const value = {
    Params: {
      DelayId: job.delayId,
      DelayTimeout: Math.min(Math.round(job.delayMs * NS_PER_MS), MAX_NS),
      ServerName: job.homeserver,
      LiveKitRoom: job.room,
      LiveKitIdentity: job.identity,
    },
    // To 0.6.0 a job that was never restarted is one that waits.
    RestartedAt: isWaiting ? ZERO_TIME : startedAt,
    ...(isWaiting ? { AcceptedAt: startedAt } : {}),
    HandedInAt: formatTime(job.delegatedAt),
    State: job.state,
    Watched: job.watched,
    Sessions: job.sessions,
    ...(job.connectedAt === -Infinity ? {} : { ConnectedAt: job.connectedAt && formatTime(job.connectedAt) }),
    WaitUntil: formatTime(job.waitUntil),
    Hint: job.hint,
    ...(job.absentSince === null ? {} : { AbsentSince: formatTime(job.absentSince) }),
  };
  return { field: fieldOf(job), value: JSON.stringify(value) };
}

/**
 * Reads a job, of ours or of 0.6.0.
 *
 * @param now Wall clock, ms since the epoch: where a job of 0.6.0 that still waits begins, which it did not write.
 * @returns null for what is none, does not stand under its own key, or has a text over its bound.
 */
export function decodeJob({ field, value }: StoredTexts, now: number): StoredJob | null {
  if (value.length > MAX_VALUE_LENGTH) return null;
  const result = v.safeParse(StoredEntry, parseJson(value), { abortEarly: true });
  if (!result.success) return null;
  const { Params: params, RestartedAt: restartedAt, ...entry } = result.output;
  const key = { room: params.LiveKitRoom, identity: params.LiveKitIdentity };
  if (fieldOf(key) !== field) return null;

  const isRestarted = restartedAt > ZERO_TIME_MS;
  const delayMs = params.DelayTimeout / NS_PER_MS;
  const timerStartedAt = isRestarted ? restartedAt : entry.AcceptedAt ?? now;
  const { identity } = key;
  // Tens of thousands of jobs: each has an array of just its length, and one text for its identity.
  const watched = (entry.Watched ?? []).map((other) => other === identity ? identity : other);
  const state = entry.State ?? (isRestarted ? "connected" : "waiting");
  return {
    ...key,
    watched: watched.includes(identity) ? watched : [identity, ...watched].slice(0, MAX_WATCHED),
    homeserver: params.ServerName,
    delayId: params.DelayId,
    delayMs,
    state,
    sessions: entry.Sessions ?? NO_SESSIONS,
    timerStartedAt,
    // Of 0.6.0, or of an earlier release: any other event is later.
    delegatedAt: entry.HandedInAt ?? 0,
    connectedAt: entry.ConnectedAt === undefined ? connectedBefore(state) : entry.ConnectedAt,
    waitUntil: entry.WaitUntil ?? timerStartedAt + Math.min(MAX_WAIT_MS, delayMs),
    hint: entry.Hint ?? "none",
    absentSince: entry.AbsentSince ?? null,
  };
}

/** The stored part of a job, its times moved from one clock to another. */
export function shiftTimes(job: StoredJob, byMs: number): StoredJob {
  const { room, identity, watched, homeserver, delayId, delayMs, state, sessions, hint } = job;
  return {
    ...{ room, identity, watched, homeserver, delayId, delayMs, state, sessions, hint },
    timerStartedAt: job.timerStartedAt + byMs,
    delegatedAt: job.delegatedAt + byMs,
    connectedAt: job.connectedAt === null ? null : job.connectedAt + byMs,
    waitUntil: job.waitUntil + byMs,
    absentSince: job.absentSince === null ? null : job.absentSince + byMs,
  };
}

/** Whether a change outlives a restart of the process. */
export function isWorthStoring(before: StoredJob, after: StoredJob): boolean {
  return before.state !== after.state || before.timerStartedAt !== after.timerStartedAt ||
    before.waitUntil !== after.waitUntil || before.connectedAt !== after.connectedAt || before.hint !== after.hint ||
    before.absentSince !== after.absentSince ||
    before.watched !== after.watched && before.watched.join() !== after.watched.join() ||
    before.sessions !== after.sessions && JSON.stringify(before.sessions) !== JSON.stringify(after.sessions);
}

/** Whether a job is too old to be taken up again: its homeserver sent the event by itself more than an hour ago. */
export function isPastGivingUp(job: StoredJob, now: number): boolean {
  return now - job.timerStartedAt - job.delayMs > GIVE_UP_AFTER_MS;
}

// An earlier release does not say when.
function connectedBefore(state: StoredJob["state"]): number | null {
  return state === "waiting" ? null : -Infinity;
}

/** What a parser makes of a value that it knows. */
function parsed<Output>(parse: (input: unknown) => Output | null) {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, Output>(({ dataset, addIssue, NEVER }) => {
      const output = parse(dataset.value);
      if (output !== null) return output;
      addIssue();
      return NEVER;
    }),
  );
}

/** A field of ours: undefined where it is missing or damaged. */
function ours<Output>(schema: v.GenericSchema<unknown, Output>) {
  return v.fallback(v.optional(schema), undefined);
}

function escaped(json: string): string {
  return json.replace(ESCAPED, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function isText(input: unknown, maxBytes: number): input is string {
  if (typeof input !== "string" || input === "" || input.length > maxBytes || !input.isWellFormed()) return false;
  // A UTF-16 unit is 3 bytes at most: no need to count those of a short text.
  return input.length <= maxBytes / 3 || byteLength(input) <= maxBytes;
}

function isSessions(input: unknown): boolean {
  if (typeof input !== "object" || input === null || Array.isArray(input)) return false;
  const sessions = Object.entries(input);
  return sessions.length <= MAX_WATCHED &&
    sessions.every(([identity, sid]) => parseIdentity(identity) !== null && (sid === "" || isText(sid, MAX_SID_BYTES)));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** RFC 3339 → ms since the epoch, or null; what is below 1 ms is dropped. */
function parseTime(text: string): number | null {
  const day = RFC_3339.exec(text)?.[1];
  if (day === undefined) return null;
  const time = Date.parse(text.toUpperCase());
  if (Number.isNaN(time) || time < ZERO_TIME_MS) return null;
  // JavaScript takes the 31st of any month for a date.
  const isSure = day.slice(-2) <= "28";
  return isSure || new Date(`${day}T00:00:00Z`).toISOString().startsWith(day) ? time : null;
}

function formatTime(time: number): string {
  return new Date(Math.min(Math.max(Math.floor(time), ZERO_TIME_MS), LAST_TIME_MS)).toISOString();
}
