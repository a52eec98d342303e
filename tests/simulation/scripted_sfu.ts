// An SFU that does what a script says: people come, go, die and reconnect, it crashes, its API is out of order for all
// rooms or for some, its webhooks come late, twice, or not at all. It behaves as LiveKit was seen to, and remembers what it
// told the service.

import type { Identity, RoomAlias } from "../../lib/livekit/identity.ts";
import type { Presence } from "../../lib/livekit/room_service.ts";
import { SfuError } from "../../lib/livekit/sfu_error.ts";
import type { SfuEvent } from "../../lib/livekit/sfu_event.ts";
import type { VirtualTime } from "../../testing/virtual_time.ts";

/** How webhooks fare. */
export type WebhookFate = "prompt" | "late" | "twice" | "halved" | "lost";
/** What the API does. */
export type ApiMode = "up" | "refusing" | "silent";

type ParticipantWebhook = Extract<SfuEvent, { sid: string }>;

interface Room {
  /** Of the world's time. */
  readonly since: number;
  readonly people: Map<Identity, string>;
}

const LATENCY_MS = 5;
const SILENCE_MS = 3000;
const LATE_MS = 20_000;
// LiveKit tries for so long, then drops the event.
const RETRIED_MS = 15_000;
/** So long LiveKit shows somebody who has died. */
export const DEAD_FOR_MS = 20_500;
/** So long a client is away when LiveKit orders a full reconnect. */
export const FULL_RECONNECT_MS = 238;

/** The SFU. */
export class ScriptedSfu {
  api: ApiMode = "up";
  webhooks: WebhookFate = "prompt";
  /** Rooms whose node does not answer. */
  readonly hanging = new Set<RoomAlias>();
  /** How far its clock is ahead of the service's, ms. */
  clockAheadMs = 0;
  /** The process that listens: what is told to one that has died is not known to the next one; null = none listens. */
  listener: object | null = null;
  /** Where webhooks go. */
  deliver: (event: ParticipantWebhook) => void = () => {};
  /** What the service was last told about a participant when it checked. */
  readonly told = new Map<string, "present" | "absent" | "unknown">();
  /** Participants whose leave the service was told of by webhook, and of nothing else since. */
  readonly toldGone = new Set<string>();
  /** Checks that were asked for, by kind. */
  readonly asked = { participants: 0, lists: 0, ages: 0 };
  readonly #time: VirtualTime;
  readonly #rooms = new Map<RoomAlias, Room>();
  readonly #roomQueues = new Map<RoomAlias, number>();
  /** The session of each participant that the service was last told of. */
  readonly #toldSids = new Map<string, string>();
  #sids = 0;
  #emitted = 0;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  /** The service will want to know about these: a list tells of them too. */
  expect(room: RoomAlias, identities: readonly Identity[]): void {
    for (const identity of identities) {
      const person = personOf(room, identity);
      if (!this.told.has(person)) this.told.set(person, "unknown");
    }
  }

  /** Whether the service was ever told that a participant is there. */
  wasTold(person: string): boolean {
    return this.#toldSids.has(person);
  }

  isPresent(room: RoomAlias, identity: Identity): boolean {
    return this.#rooms.get(room)?.people.has(identity) === true;
  }

  /** Somebody connects; a session of theirs that is there ends. */
  join(room: RoomAlias, identity: Identity): string {
    const { people } = this.#room(room);
    const old = people.get(identity);
    const sid = `PA_${++this.#sids}`;
    people.set(identity, sid);
    if (old !== undefined) this.#emit("left", room, identity, old, "DUPLICATE_IDENTITY");
    this.#emit("joined", room, identity, sid, "");
    return sid;
  }

  /** A session ends. */
  leave(room: RoomAlias, identity: Identity, reason: string): void {
    const sid = this.#rooms.get(room)?.people.get(identity);
    if (sid === undefined) return;
    this.#rooms.get(room)?.people.delete(identity);
    this.#emit("left", room, identity, sid, reason);
  }

  /** A client dies: its session is shown until LiveKit notices. */
  die(room: RoomAlias, identity: Identity): void {
    const sid = this.#rooms.get(room)?.people.get(identity);
    if (sid === undefined) return;
    this.#time.after(DEAD_FOR_MS, () => {
      if (this.#rooms.get(room)?.people.get(identity) === sid) this.leave(room, identity, "CONNECTION_TIMEOUT");
    });
  }

  /** Somebody tried to connect, and did not come so far. */
  abort(room: RoomAlias, identity: Identity, reason: string): void {
    this.#emit("aborted", room, identity, `PA_${++this.#sids}`, reason);
  }

  /** Everybody is out, all rooms are gone, and nobody is told. */
  crash(): void {
    this.#rooms.clear();
  }

  getParticipant(room: RoomAlias, identity: Identity, signal?: AbortSignal): Promise<Presence> {
    this.asked.participants++;
    return this.#answer<Presence>(
      room,
      signal,
      () => {
        const sid = this.#rooms.get(room)?.people.get(identity);
        this.#tell(room, identity, sid);
        return sid === undefined ? { outcome: "absent" } : { outcome: "present", sid };
      },
      () => this.told.set(personOf(room, identity), "unknown"),
    );
  }

  listParticipants(room: RoomAlias, signal?: AbortSignal): Promise<ReadonlyMap<string, string>> {
    this.asked.lists++;
    return this.#answer(room, signal, () => {
      const people = this.#rooms.get(room)?.people ?? new Map<Identity, string>();
      for (const person of this.told.keys()) {
        const [inRoom, identity = ""] = person.split(" ");
        if (inRoom === room) this.#tell(room, identity as Identity, people.get(identity as Identity));
      }
      return new Map<string, string>(people);
    });
  }

  roomAge(room: RoomAlias, signal?: AbortSignal): Promise<number | null> {
    this.asked.ages++;
    return this.#answer(room, signal, () => {
      const since = this.#rooms.get(room)?.since;
      return since === undefined ? null : this.#time.elapsed() - since;
    });
  }

  #answer<T>(
    room: RoomAlias,
    signal: AbortSignal | undefined,
    well: () => T,
    badly: () => unknown = () => {},
  ): Promise<T> {
    const asker = this.listener;
    return new Promise((resolve, reject) => {
      const isSilent = this.api === "silent" || this.hanging.has(room);
      const isUp = this.api === "up" && !isSilent;
      this.#time.after(isSilent ? SILENCE_MS : LATENCY_MS, () =>
        this.#time.inService(() => {
          // Whoever has given up, or died, hears nothing any more.
          if (asker !== this.listener) return;
          if (isUp && signal?.aborted !== true) return resolve(well());
          badly();
          reject(new SfuError(isSilent ? "timeout" : "connect", "out of order"));
        }));
    });
  }

  #tell(room: RoomAlias, identity: Identity, sid: string | undefined): void {
    const person = personOf(room, identity);
    this.told.set(person, sid === undefined ? "absent" : "present");
    if (sid === undefined) return;
    this.toldGone.delete(person);
    this.#toldSids.set(person, sid);
  }

  #emit(type: ParticipantWebhook["type"], room: RoomAlias, identity: Identity, sid: string, reason: string): void {
    this.#emitted++;
    if (this.webhooks === "lost" || this.webhooks === "halved" && this.#emitted % 2 === 0) return;
    const times = this.webhooks === "twice" ? 2 : 1;
    const pauseMs = this.webhooks === "late" ? LATE_MS : LATENCY_MS;
    // One ordered queue per room.
    const now = this.#time.elapsed();
    const at = Math.max(now + pauseMs, this.#roomQueues.get(room) ?? 0);
    this.#roomQueues.set(room, at);
    // LiveKit signs the second.
    const signedAt = Math.floor((this.#time.now() + this.clockAheadMs) / 1000) * 1000 + 999;
    for (let count = 0; count < times; count++) {
      this.#time.after(at - now, () => {
        if (this.#time.frozenMs > RETRIED_MS) return;
        this.#time.inService(() => {
          const createdAt = Math.min(signedAt, this.#time.now());
          this.#arrive({ type, room, identity, sid, reason, createdAt });
        });
      });
    }
  }

  #arrive(event: ParticipantWebhook): void {
    if (this.listener === null) return;
    const person = personOf(event.room, event.identity);
    if (event.type === "joined") {
      this.toldGone.delete(person);
      this.#toldSids.set(person, event.sid);
    } else if (event.reason !== "DUPLICATE_IDENTITY" && this.#toldSids.get(person) === event.sid) {
      this.toldGone.add(person);
      this.told.set(person, "unknown");
    }
    this.deliver(event);
  }

  #room(name: RoomAlias): Room {
    let room = this.#rooms.get(name);
    if (room === undefined) this.#rooms.set(name, room = { since: this.#time.elapsed(), people: new Map() });
    return room;
  }
}

/** Text form of a participant, for maps. */
export function personOf(room: RoomAlias, identity: Identity): string {
  return `${room} ${identity}`;
}
