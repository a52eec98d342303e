// The scripts as typed calls: arguments out, replies read by schemas.

import * as v from "valibot";
import type { Identity, RoomAlias } from "../../../livekit/identity.ts";
import { type RedisConnection, RedisError } from "./connection.ts";
import { FIELDS, JOBS } from "./keys.ts";
import { fieldOf, type StoredTexts } from "../stored_job.ts";
import type { ParticipantEvent } from "../store.ts";

/** Something that arrived for a room: an event, or a job as it now stands. */
export type Arrival =
  | { readonly type: "event"; readonly event: ParticipantEvent }
  | { readonly type: "job"; readonly texts: StoredTexts };

/** What a heartbeat tells. */
export interface BeatReply {
  /** The same for as long as the lease lasts, heartbeat after heartbeat. */
  readonly session: string;
  readonly replicas: number;
  readonly freeRooms: number;
  /** Whether all jobs are indexed, so that none stands there unknown. */
  readonly isIndexed: boolean;
  /** For which something has arrived. */
  readonly rooms: readonly RoomAlias[];
}

/** A room that is ours now. */
export interface ClaimedRoom {
  readonly token: string;
  readonly jobs: readonly StoredTexts[];
  readonly arrivals: readonly Arrival[];
}

/**
 * What became of a job handed in; `lapsed`: nothing, since this replica's lease is over. `isKnown`: the owner had it
 * before, as it was then. `isSuperseded`: the client has handed another event over since, which is among the jobs.
 */
export type AcceptReply =
  | { readonly owner: "lapsed" }
  | { readonly owner: "elsewhere"; readonly isKnown: boolean }
  | ({ readonly owner: "here"; readonly isSuperseded: boolean } & ClaimedRoom);

/** A room after a stretch out of touch. */
export interface ReclaimedRoom {
  readonly room: RoomAlias;
  /** null = another replica's. */
  readonly token: string | null;
  readonly fields: readonly string[];
  readonly arrivals: readonly Arrival[];
}

/** One change of a stored job. */
export interface Write {
  /** `drop` removes a value that is no job; the value itself is given. */
  readonly action: "put" | "remove" | "drop";
  readonly room: RoomAlias;
  /** Empty when the room is not ours. */
  readonly token: string;
  readonly field: string;
  readonly delayId: string;
  readonly value: string;
}

/** What became of a write; `replaced` with the job that has taken the place. */
export type WriteResult =
  | { readonly outcome: "done" | "lost" | "emptied" }
  | { readonly outcome: "replaced"; readonly value: string };

const Room = v.custom<RoomAlias>((input) => typeof input === "string");
/** A room's JSON text, as it stands in the fields of its jobs. */
const RoomText = v.pipe(v.string(), v.transform(parseText), Room);
const Texts = v.array(v.string());
const Jobs = v.pipe(Texts, v.transform((texts) => pairs(texts).map(([field, value]) => ({ field, value }))));
const Beat = v.tuple([v.string(), v.number(), v.number(), v.number(), v.number(), Texts]);
const Claimed = v.tuple([v.number(), v.array(v.tuple([v.string(), v.string(), Jobs, Texts]))]);
const Accepted = v.tuple([v.picklist(["lapsed", "elsewhere", "here", "known", "superseded"]), v.string(), Jobs, Texts]);
const Routed = v.picklist(["here", "elsewhere"]);
const Taken = v.array(v.tuple([RoomText, Texts]));
const Written = v.array(v.tuple([v.picklist(["done", "lost", "emptied", "replaced"]), v.string()]));
const Reclaimed = v.array(v.tuple([RoomText, v.string(), Texts, Texts]));
const Mine = v.array(v.tuple([v.string(), v.string()]));
const Values = v.array(v.nullable(v.string()));

const Session = { identity: v.string(), sid: v.string(), createdAt: v.exactOptional(v.number()) };
const Event = v.variant("type", [
  v.object({ type: v.literal("joined"), ...Session }),
  v.object({ type: v.literal("left"), ...Session, reason: v.string() }),
  v.object({ type: v.literal("aborted"), ...Session, reason: v.string() }),
]);

const NOBODY = v.parse(v.custom<Identity>((input) => input === ""), "");

const SCAN_COUNT = 500;
const MAX_SCAN_STEPS = 100_000;

/** Calls scripts. Every method throws a RedisError when Redis did not do it, as far as is known. */
export class RedisCommands {
  readonly #redis: RedisConnection;
  #session = "";

  constructor(redis: RedisConnection) {
    this.#redis = redis;
  }

  async beat(leaseMs: number): Promise<BeatReply> {
    const reply = await this.#redis.run("leaveBeat", leaseMs);
    const [session, replicas, freeRooms, jobs, fields, rooms] = v.parse(Beat, reply);
    this.#session = session;
    return { session, replicas, freeRooms, isIndexed: jobs === fields, rooms: rooms.flatMap((text) => known(text)) };
  }

  /** Claims some of the free rooms, and says how many are left. */
  async claim(atMost: number): Promise<{ readonly left: number; readonly rooms: (ClaimedRoom & RoomOf)[] }> {
    const [left, claimed] = v.parse(Claimed, await this.#redis.run("leaveClaim", atMost));
    const rooms = claimed.flatMap(([text, token, jobs, entries]) => {
      return known(text).map((room) => ({ room, token, jobs, arrivals: readArrivals(room, entries) }));
    });
    return { left, rooms };
  }

  /**
   * @param isKnown Whether the room's jobs are known here.
   * @param isLate Whether the client was answered a while ago, so that it may have handed another event over since.
   */
  async accept(
    room: RoomAlias,
    { field, value }: StoredTexts,
    isKnown: boolean,
    isLate = false,
  ): Promise<AcceptReply> {
    const flags = [isKnown ? "0" : "1", this.#session, isLate ? "1" : "0"];
    const reply = await this.#redis.run("leaveAccept", textOf(room), field, value, ...flags);
    const [outcome, token, jobs, entries] = v.parse(Accepted, reply);
    if (outcome === "lapsed") return { owner: outcome };
    if (token === "") return { owner: "elsewhere", isKnown: outcome === "known" };
    return {
      owner: "here",
      isSuperseded: outcome === "superseded",
      token,
      jobs,
      arrivals: readArrivals(room, entries),
    };
  }

  async route({ room, ...event }: ParticipantEvent): Promise<"here" | "elsewhere"> {
    return v.parse(Routed, await this.#redis.run("leaveRoute", textOf(room), JSON.stringify(event)));
  }

  async take(claims: readonly (readonly [RoomAlias, string])[]): Promise<(RoomOf & ArrivalsOf)[]> {
    const reply = await this.#redis.run("leaveTake", ...claims.flatMap(([room, token]) => [textOf(room), token]));
    return v.parse(Taken, reply).map(([room, entries]) => ({ room, arrivals: readArrivals(room, entries) }));
  }

  async write(writes: readonly Write[]): Promise<WriteResult[]> {
    const args = writes.flatMap(({ action, room, token, field, delayId, value }) => {
      return [action, textOf(room), token, field, delayId, value];
    });
    return v.parse(Written, await this.#redis.run("leaveWrite", ...args)).map(([outcome, value]) => {
      return outcome === "replaced" ? { outcome, value } : { outcome };
    });
  }

  /** The rooms that are ours in Redis, known here or not. */
  async mine(): Promise<(readonly [RoomAlias, string])[]> {
    const mine = v.parse(Mine, await this.#redis.run("leaveMine"));
    return mine.flatMap(([text, token]) => known(text).map((room) => [room, token] as const));
  }

  /** @throws RedisError also when this replica's lease is over. */
  async reclaim(claims: readonly (readonly [RoomAlias, string])[]): Promise<ReclaimedRoom[]> {
    const reply = await this.#redis.run("leaveReclaim", ...claims.flatMap(([room, token]) => [textOf(room), token]));
    const reclaimed = v.parse(Reclaimed, reply);
    if (reclaimed.length !== claims.length) throw new RedisError("the lease of this replica is over");
    return reclaimed.map(([room, token, fields, entries]) => {
      return { room, token: token === "" ? null : token, fields, arrivals: readArrivals(room, entries) };
    });
  }

  /** Jobs by their fields; those that are gone are left out. */
  async read(fields: readonly string[]): Promise<StoredTexts[]> {
    if (fields.length === 0) return [];
    const reply = await this.#redis.ask((client) => client.hmget(JOBS, ...fields));
    const values = v.parse(Values, reply);
    return fields.flatMap((field, i) => {
      const value = values[i];
      return typeof value === "string" ? [{ field, value }] : [];
    });
  }

  async leave(): Promise<void> {
    await this.#redis.run("leaveLeave");
  }

  /** Goes through the whole hash: what another program wrote becomes known, what it removed is forgotten. */
  async repair(): Promise<void> {
    await this.#scan((client, cursor) => client.hscan(JOBS, cursor, "COUNT", SCAN_COUNT), "leaveIndex");
    await this.#scan((client, cursor) => client.zscan(FIELDS, cursor, "COUNT", SCAN_COUNT), "leavePrune");
  }

  async #scan(
    step: (client: RedisConnection["client"], cursor: string) => Promise<[string, string[]]>,
    script: "leaveIndex" | "leavePrune",
  ): Promise<void> {
    let cursor = "0";
    for (let steps = 0; steps < MAX_SCAN_STEPS; steps++) {
      const [next, texts] = await this.#redis.ask((client) => step(client, cursor));
      const fields = pairs(texts).map(([field]) => field);
      if (fields.length > 0) await this.#redis.run(script, ...fields);
      if (next === "0") return;
      cursor = next;
    }
  }
}

interface RoomOf {
  readonly room: RoomAlias;
}

interface ArrivalsOf {
  readonly arrivals: readonly Arrival[];
}

/** The room of a JSON text; null for what is none. */
export function readRoom(text: string): RoomAlias | null {
  const room = v.safeParse(RoomText, text);
  return room.success ? room.output : null;
}

/** The room of a text, or none: others may have written fields that only look like those of jobs. */
function known(text: string): RoomAlias[] {
  const room = readRoom(text);
  return room === null ? [] : [room];
}

function textOf(room: RoomAlias): string {
  return fieldOf({ room, identity: NOBODY }).slice("[".length, -',""]'.length);
}

function parseText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function pairs(texts: readonly string[]): (readonly [string, string])[] {
  return texts.flatMap((first, i) => i % 2 === 0 ? [[first, texts[i + 1] ?? ""] as const] : []);
}

function readArrivals(room: RoomAlias, entries: readonly string[]): Arrival[] {
  return pairs(entries).flatMap(([entry, value]): Arrival[] => {
    const text = entry.slice(1);
    if (entry.startsWith("J")) return value === "" ? [] : [{ type: "job", texts: { field: text, value } }];
    const event = v.safeParse(Event, parseText(text));
    return event.success ? [{ type: "event", event: { ...event.output, room } }] : [];
  });
}
