// The scripts as typed calls, and the names under which things stand in Redis: arguments out, replies read by schemas.

import { hash } from "node:crypto";
import * as v from "valibot";
import type { Identity, RoomAlias } from "../../../livekit/identity.ts";
import { fieldOf, Room, type StoredTexts } from "../stored_job.ts";
import type { ParticipantEvent } from "../store.ts";
import { MAX_WAIT_MS, type RedisConnection, RedisError } from "./connection.ts";
import { TAG } from "./scripts.ts";

/** How many shards the rooms are divided into. */
export const SHARD_COUNT = 64;
/** A stream that is this long has lost entries. */
export const MAX_ENTRIES = 2000;

/** Something that was passed on to the owner of a shard: an event, or the field of a job that is new. */
export type Entry =
  | { readonly type: "event"; readonly event: ParticipantEvent }
  | { readonly type: "job"; readonly field: string }
  /** Neither, written by who knows whom. */
  | { readonly type: "unknown" };

/** The entries of one stream, in order. */
export type Entries = readonly (readonly [id: string, entry: Entry])[];

/** What is read next: the streams of shards, each after its last entry, and what replicas announce. */
export interface Positions {
  readonly shards: ReadonlyMap<number, string>;
  readonly ownership: string;
}

/** What was read. */
export interface Arrivals {
  readonly shards: ReadonlyMap<number, Entries>;
  /** The last entry; null when nothing changed. */
  readonly ownership: string | null;
  /** Somebody else wrote into the hash. */
  readonly mustScan: boolean;
}

/** A heartbeat. */
export interface Beat {
  readonly leaseMs: number;
  /** No more jobs fit: our share is for others. */
  readonly isFull: boolean;
  /** Whether shards of nobody become ours, up to our share. */
  readonly claims: "free" | "unless lapsed" | "none";
  /** Shards whose jobs are known here: they become ours again in any case. */
  readonly held: Iterable<number>;
}

/** What a heartbeat tells. */
export interface BeatReply {
  /** The same for as long as the lease lasts, heartbeat after heartbeat. */
  readonly session: string;
  readonly replicas: number;
  /** How many shards this replica should own. */
  readonly share: number;
  /** When the next lease of any replica ends, unless it is renewed. */
  readonly nextEndMs: number;
  /** The fencing token of each shard that is ours. */
  readonly tokens: ReadonlyMap<number, string>;
}

/** A delegation to be stored. */
export interface Acceptance extends StoredTexts {
  readonly shard: number;
  /** `late`: the client was answered a while ago. `loaded`: all jobs of the shard are known here. */
  readonly kind: "new" | "loaded" | "late";
}

/** What became of it. */
export interface Accepted {
  /** `known`: the same event stands there. `superseded`: another one does, which was delegated later. */
  readonly outcome: "stored" | "known" | "superseded";
  readonly owner: "here" | "elsewhere";
  /** The job that still stands there; null for none. */
  readonly value: string | null;
}

/** One change of a stored job. */
export interface Write {
  /** `drop` removes a value that is no job; the value itself is given. */
  readonly action: "put" | "remove" | "drop";
  readonly shard: number;
  /** Empty when the shard is not ours. */
  readonly token: string;
  readonly field: string;
  readonly delayId: string;
  readonly value: string;
}

/** What became of a write: `lost` = the shard is another's; `replaced` = another event stands there, as given. */
export type WriteResult =
  | { readonly outcome: "done" | "lost" }
  | { readonly outcome: "replaced"; readonly value: string };

/** Entries of a stream that were taken in. */
export interface Taken {
  readonly shard: number;
  readonly token: string;
  readonly ids: readonly string[];
}

const OWNERSHIP = `${TAG}:ownership`;
const STREAM = `${TAG}:stream:`;
const NOBODY = v.parse(v.custom<Identity>((input) => input === ""), "");

const PAGE_FIELDS = 500;
const ENTRIES_AT_ONCE = 100;

const MAX_TEXT = 256;
const Text = v.pipe(v.string(), v.maxLength(MAX_TEXT));
const Count = v.pipe(v.number(), v.minValue(0));
const Beaten = v.tuple([v.string(), Count, Count, Count, v.pipe(v.array(v.string()), v.length(SHARD_COUNT))]);
const Acceptances = v.array(
  v.tuple([v.picklist(["stored", "known", "superseded"]), v.picklist(["here", "elsewhere"]), v.string()]),
);
const Written = v.array(v.tuple([v.picklist(["done", "lost", "replaced"]), v.string()]));
const Page = v.tuple([v.string(), Count, v.array(v.string())]);
const Values = v.array(v.string());
const Counts = v.array(Count);
const Streams = v.nullable(
  v.array(v.tuple([v.string(), v.array(v.tuple([v.string(), v.nullable(v.array(v.string()))]))])),
);

const Session = { room: Room, identity: Text, sid: Text, createdAt: v.exactOptional(v.number()) };
const Event = v.variant("type", [
  v.object({ type: v.literal("joined"), ...Session }),
  v.object({ type: v.literal("left"), ...Session, reason: Text }),
  v.object({ type: v.literal("aborted"), ...Session, reason: Text }),
]);

/** The shard of a room. */
export function shardOf(room: RoomAlias): number {
  const text = fieldOf({ room, identity: NOBODY }).slice("[".length, -',""]'.length);
  return parseInt(hash("sha1", text, "hex").slice(0, 2), 16) % SHARD_COUNT;
}

/** The shard of a job by its field; null for a field that is no job's. */
export function shardOfField(field: string): number | null {
  const key = v.safeParse(v.tuple([Room, v.string()]), parseText(field));
  return key.success ? shardOf(key.output[0]) : null;
}

/** Calls scripts. Every method throws a RedisError when Redis did not do it, as far as is known. */
export class RedisCommands {
  readonly #redis: RedisConnection;
  #session = "";

  constructor(redis: RedisConnection) {
    this.#redis = redis;
  }

  async beat({ leaseMs, isFull, claims, held }: Beat): Promise<BeatReply> {
    const args = [leaseMs, isFull ? "full" : "fits", claims, ...held];
    const reply = await this.#redis.run("leaveBeat", ...args);
    const [session, replicas, share, nextEndMs, tokens] = read(Beaten, reply);
    this.#session = session;
    const ours = tokens.map((token, shard) => [shard, token] as const).filter(([, token]) => token !== "");
    return { session, replicas, share, nextEndMs, tokens: new Map(ours) };
  }

  /** @returns null when this replica's lease is over: nothing was stored. */
  async accept(jobs: readonly Acceptance[]): Promise<readonly Accepted[] | null> {
    const args = jobs.flatMap(({ shard, field, value, kind }) => [shard, field, value, kind]);
    const results = read(Acceptances, await this.#redis.run("leaveAccept", this.#session, ...args));
    if (results.length === 0) return null;
    assertAnswered(results, jobs);
    return results.map(([outcome, owner, value]) => ({ outcome, owner, value: value === "" ? null : value }));
  }

  async write(writes: readonly Write[]): Promise<readonly WriteResult[]> {
    const args = writes.flatMap(({ action, shard, token, field, delayId, value }) => {
      return [action, shard, token, field, delayId, value];
    });
    const results = read(Written, await this.#redis.run("leaveWrite", ...args));
    assertAnswered(results, writes);
    return results.map(([outcome, value]) => outcome === "replaced" ? { outcome, value } : { outcome });
  }

  /** The jobs of some shards, page by page, and how many values were removed since they were too long to be jobs. */
  async *scan(shards: ReadonlySet<number>): AsyncGenerator<{ jobs: readonly StoredTexts[]; tooLong: number }> {
    const wanted = Array.from({ length: SHARD_COUNT }, (_, shard) => shards.has(shard) ? "1" : "0").join("");
    const pageAt = (cursor: string) => this.#redis.run("leaveScan", cursor, PAGE_FIELDS, wanted);
    let [cursor, page] = ["0", pageAt("0")];
    do {
      const [next, tooLong, texts] = read(Page, await page);
      if (next === cursor && next !== "0") throw new RedisError("it gives answers of another form");
      cursor = next;
      // Redis looks for the next page while this one is taken in.
      if (next !== "0") page = pageAt(next);
      page.catch(() => {}); // heard of when its turn comes, if that does
      yield { jobs: pairs(texts).map(([field, value]) => ({ field, value })), tooLong };
    } while (cursor !== "0");
  }

  /** Jobs by their fields; those that are gone are left out. */
  async read(fields: readonly string[]): Promise<ReadonlyMap<string, StoredTexts>> {
    const values = read(Values, await this.#redis.run("leaveRead", ...fields));
    assertAnswered(values, fields);
    const jobs = fields.map((field, i) => [field, { field, value: values[i] ?? "" }] as const);
    return new Map(jobs.filter(([, { value }]) => value !== ""));
  }

  /** Passes events on to the owners of their shards, in this order. */
  async pass(events: readonly ParticipantEvent[]): Promise<void> {
    await this.#redis.ask(async (client) => {
      const pipeline = client.pipeline();
      for (const event of events) {
        const stream = `${STREAM}${shardOf(event.room)}`;
        pipeline.xadd(stream, "MAXLEN", MAX_ENTRIES, "*", "event", JSON.stringify(event));
      }
      const results = await pipeline.exec();
      for (const [error] of results ?? [[new RedisError("no answer")]]) if (error !== null) throw error;
    });
  }

  /** Waits a second for what comes next; resolves earlier when something does. */
  async next({ shards, ownership }: Positions): Promise<Arrivals> {
    const streams = [OWNERSHIP, ...shards.keys().map((shard) => `${STREAM}${shard}`)];
    const reply = await this.#redis.wait((reader) =>
      reader.xread("COUNT", ENTRIES_AT_ONCE, "BLOCK", MAX_WAIT_MS, "STREAMS", ...streams, ownership, ...shards.values())
    );
    const streamed = read(Streams, reply) ?? [];
    const changes = streamed.find(([stream]) => stream === OWNERSHIP)?.[1] ?? [];
    return {
      shards: new Map(streamed.flatMap(([stream, entries]) => {
        if (!stream.startsWith(STREAM)) return [];
        return [[Number(stream.slice(STREAM.length)), entries.map(([id, texts]) => [id, readEntry(texts)] as const)]];
      })),
      ownership: changes.at(-1)?.[0] ?? null,
      mustScan: changes.some(([, texts]) => texts?.[0] === "scan"),
    };
  }

  /** Removes what was taken in; gives for each stream whether entries may have been lost before. */
  async trim(taken: readonly Taken[]): Promise<readonly boolean[]> {
    const args = taken.flatMap(({ shard, token, ids }) => [shard, token, ids.length, ...ids]);
    const lengths = read(Counts, await this.#redis.run("leaveTrim", ...args));
    assertAnswered(lengths, taken);
    return lengths.map((length) => length >= MAX_ENTRIES);
  }

  /** Gives shards back; all that this replica has when it leaves. */
  async release(tokens: Iterable<readonly [shard: number, token: string]>, isLeaving: boolean): Promise<void> {
    await this.#redis.run("leaveRelease", isLeaving ? "1" : "0", ...[...tokens].flat());
  }
}

function read<Schema extends v.GenericSchema>(schema: Schema, reply: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, reply);
  if (!result.success) throw new RedisError("it gives answers of another form");
  return result.output;
}

function assertAnswered(answers: readonly unknown[], questions: readonly unknown[]): void {
  if (answers.length !== questions.length) throw new RedisError("it answers another number of questions");
}

function pairs(texts: readonly string[]): (readonly [string, string])[] {
  return texts.flatMap((first, i) => i % 2 === 0 ? [[first, texts[i + 1] ?? ""] as const] : []);
}

function readEntry(texts: readonly string[] | null): Entry {
  const [kind, text = ""] = texts ?? [];
  if (kind === "job") return { type: "job", field: text };
  const event = v.safeParse(Event, kind === "event" ? parseText(text) : undefined);
  return event.success ? { type: "event", event: event.output } : { type: "unknown" };
}

function parseText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
