// An SFU that does what a script says: people come, go and reconnect, it crashes, its API is out of order, its webhooks
// come late, twice, or not at all. It remembers what it told the service.

import type { Identity, RoomAlias } from "../../lib/livekit/identity.ts";
import type { Presence } from "../../lib/livekit/room_service.ts";
import type { SfuEvent } from "../../lib/livekit/sfu_event.ts";
import type { VirtualTime } from "../../testing/virtual_time.ts";

/** How webhooks fare. */
export type WebhookFate = "prompt" | "late" | "twice" | "halved" | "lost";
/** What the API does. */
export type ApiMode = "up" | "refusing" | "silent";

type ParticipantWebhook = Extract<SfuEvent, { sid: string }>;

const LATENCY_MS = 5;
const SILENCE_MS = 5000;
const LATE_MS = 20_000;
// LiveKit tries for so long, then drops the event.
const RETRIED_MS = 15_000;

/** The SFU. */
export class ScriptedSfu {
  api: ApiMode = "up";
  webhooks: WebhookFate = "prompt";
  /** Where webhooks go. */
  deliver: (event: ParticipantWebhook) => void = () => {};
  /** What the service was last told about a participant when it looked. */
  readonly told = new Map<string, Presence["outcome"] | "unknown">();
  /** Participants whose leave the service was told of by webhook, and of nothing else since. */
  readonly toldGone = new Set<string>();
  /** PresenceChecks that were asked for, by kind. */
  readonly asked = { participants: 0, lists: 0 };
  readonly #time: VirtualTime;
  readonly #rooms = new Map<RoomAlias, Map<Identity, string>>();
  readonly #roomQueues = new Map<RoomAlias, number>();
  readonly #toldSids = new Set<string>();
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

  isPresent(room: RoomAlias, identity: Identity): boolean {
    return this.#room(room).has(identity);
  }

  /** Somebody connects; a session of theirs that is there ends. */
  join(room: RoomAlias, identity: Identity): void {
    const old = this.#room(room).get(identity);
    const sid = this.#newSid();
    this.#room(room).set(identity, sid);
    if (old !== undefined) this.#emit({ type: "left", room, identity, sid: old, reason: "DUPLICATE_IDENTITY" });
    this.#emit({ type: "joined", room, identity, sid, reason: "" });
  }

  leave(room: RoomAlias, identity: Identity, reason: string): void {
    const sid = this.#room(room).get(identity);
    if (sid === undefined) return;
    this.#room(room).delete(identity);
    this.#emit({ type: "left", room, identity, sid, reason });
  }

  /** Somebody tried to connect, and did not come so far. */
  abort(room: RoomAlias, identity: Identity, reason: string): void {
    this.#emit({ type: "aborted", room, identity, sid: this.#newSid(), reason });
  }

  /** Everybody is out, and nobody is told. */
  crash(): void {
    this.#rooms.clear();
  }

  getParticipant(room: RoomAlias, identity: Identity): Promise<Presence> {
    this.asked.participants++;
    return this.#answer<Presence>(
      () => {
        const sid = this.#room(room).get(identity);
        this.#tell(room, identity, sid);
        return sid === undefined ? { outcome: "absent" } : { outcome: "present", sid };
      },
      () => {
        this.told.set(personOf(room, identity), "unknown");
        throw new Error("out of order");
      },
    );
  }

  listParticipants(room: RoomAlias): Promise<ReadonlyMap<string, string>> {
    this.asked.lists++;
    return this.#answer(
      () => {
        for (const person of this.told.keys()) {
          const [inRoom, identity = ""] = person.split(" ");
          if (inRoom === room) this.#tell(room, identity as Identity, this.#room(room).get(identity as Identity));
        }
        return new Map<string, string>(this.#room(room));
      },
      () => {
        throw new Error("out of order");
      },
    );
  }

  #answer<T>(well: () => T, badly: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const pauseMs = this.api === "silent" ? SILENCE_MS : LATENCY_MS;
      const answer = this.api === "up" ? well : badly;
      this.#time.after(pauseMs, () =>
        this.#time.inService(() => {
          try {
            resolve(answer());
          } catch (error) {
            reject(error);
          }
        }));
    });
  }

  #tell(room: RoomAlias, identity: Identity, sid: string | undefined): void {
    const person = personOf(room, identity);
    this.told.set(person, sid === undefined ? "absent" : "present");
    if (sid === undefined) return;
    this.toldGone.delete(person);
    this.#toldSids.add(sid);
  }

  #emit(what: Omit<ParticipantWebhook, "createdAt">): void {
    this.#emitted++;
    const event = { ...what, createdAt: Math.floor(this.#time.now() / 1000) * 1000 + 999 };
    if (this.webhooks === "lost" || this.webhooks === "halved" && this.#emitted % 2 === 0) return;
    const times = this.webhooks === "twice" ? 2 : 1;
    const pauseMs = this.webhooks === "late" ? LATE_MS : LATENCY_MS;
    // One ordered queue per room.
    const now = this.#time.elapsed();
    const at = Math.max(now + pauseMs, this.#roomQueues.get(event.room) ?? 0);
    this.#roomQueues.set(event.room, at);
    for (let count = 0; count < times; count++) {
      this.#time.after(at - now, () => {
        if (this.#time.frozenMs <= RETRIED_MS) this.#time.inService(() => this.#arrive(event));
      });
    }
  }

  #arrive(event: ParticipantWebhook): void {
    const person = personOf(event.room, event.identity);
    if (event.type === "joined") {
      this.toldGone.delete(person);
      this.#toldSids.add(event.sid);
    } else if (event.reason !== "DUPLICATE_IDENTITY" && this.#toldSids.has(event.sid)) {
      this.toldGone.add(person);
    }
    this.deliver({ ...event, createdAt: Math.min(event.createdAt, this.#time.now()) });
  }

  #room(room: RoomAlias): Map<Identity, string> {
    let participants = this.#rooms.get(room);
    if (participants === undefined) this.#rooms.set(room, participants = new Map());
    return participants;
  }

  #newSid(): string {
    return `PA_${++this.#sids}`;
  }
}

/** Text form of a participant, for maps. */
export function personOf(room: RoomAlias, identity: Identity): string {
  return `${room} ${identity}`;
}
