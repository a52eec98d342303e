// Rooms and participants of the development SFU. Rooms end as LiveKit's do: `emptyTimeout` after they were made when
// nobody came, `departureTimeout` after the last one left. Ends are noticed when somebody looks; nothing ticks.

import {
  type CreateRoomRequest,
  ParticipantInfo,
  ParticipantInfo_State,
  ParticipantPermission,
  Room,
} from "@livekit/protocol";
import { randomBytes } from "node:crypto";
import type { TokenClaims } from "./fake_sfu_tokens.ts";

const DEFAULT_EMPTY_TIMEOUT_SECONDS = 300;
const DEFAULT_DEPARTURE_TIMEOUT_SECONDS = 20;
const SWEEP_INTERVAL_MS = 1000;

interface HeldRoom {
  readonly room: Room;
  readonly participants: Map<string, ParticipantInfo>;
  lastLeftAt: number | null;
}

/** What a participant may do and says of itself; the rest of a token is not looked at. */
export type Joining = Partial<Omit<TokenClaims, "identity">> & Pick<TokenClaims, "identity">;

/** All rooms. Counts of participants are exact at once, where LiveKit's lag by up to 5 s. */
export class SfuRooms {
  readonly #rooms = new Map<string, HeldRoom>();
  readonly #now: () => number;
  #sweptAt = 0;

  /** @param now Time in ms since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Makes a room, or gives the one that is there with its old settings. */
  create(request: Pick<CreateRoomRequest, "name"> & Partial<CreateRoomRequest>): Room {
    this.#sweep();
    const held = this.#find(request.name);
    if (held !== null) return held.room;
    const now = this.#now();
    const room = new Room({
      sid: newId("RM"),
      name: request.name,
      emptyTimeout: request.emptyTimeout || DEFAULT_EMPTY_TIMEOUT_SECONDS,
      departureTimeout: request.departureTimeout || DEFAULT_DEPARTURE_TIMEOUT_SECONDS,
      maxParticipants: request.maxParticipants ?? 0,
      metadata: request.metadata ?? "",
      creationTime: BigInt(Math.floor(now / 1000)),
      creationTimeMs: BigInt(now),
    });
    this.#rooms.set(request.name, { room, participants: new Map(), lastLeftAt: null });
    return room;
  }

  /** @returns Null when there is no such room (any more). */
  get(name: string): Room | null {
    return this.#find(name)?.room ?? null;
  }

  /** All rooms, or those of these names. */
  list(names: readonly string[] = []): Room[] {
    this.#sweep();
    const wanted = names.length === 0 ? this.#rooms.keys() : new Set(names);
    return [...wanted].flatMap((name) => this.get(name) ?? []);
  }

  /** @returns False when there was none. */
  delete(name: string): boolean {
    return this.#find(name) !== null && this.#rooms.delete(name);
  }

  /** Who is in a room; nobody is in a room that does not exist. */
  participants(name: string): ParticipantInfo[] {
    return [...this.#find(name)?.participants.values() ?? []];
  }

  /** @returns Null when the room or the participant is not there. */
  participant(name: string, identity: string): ParticipantInfo | null {
    return this.#find(name)?.participants.get(identity) ?? null;
  }

  /**
   * Lets a participant in; one of the same identity is replaced by a session with a new `sid`.
   *
   * @returns Null when there is no such room.
   */
  join(name: string, { identity, video, ...profile }: Joining): ParticipantInfo | null {
    const held = this.#find(name);
    if (held === null) return null;
    const now = this.#now();
    const participant = new ParticipantInfo({
      ...profile,
      sid: newId("PA"),
      identity,
      state: ParticipantInfo_State.ACTIVE,
      joinedAt: BigInt(Math.floor(now / 1000)),
      joinedAtMs: BigInt(now),
      // What a grant leaves out is allowed, but for the own metadata.
      permission: new ParticipantPermission({
        canSubscribe: video?.canSubscribe ?? true,
        canPublish: video?.canPublish ?? true,
        canPublishData: video?.canPublishData ?? video?.canPublish ?? true,
        canUpdateMetadata: video?.canUpdateOwnMetadata ?? false,
      }),
    });
    held.participants.set(identity, participant);
    held.room.numParticipants = held.participants.size;
    return participant;
  }

  /**
   * Ends a participant's session.
   *
   * @returns The participant as it was, its state now DISCONNECTED; null when it was not there.
   */
  leave(name: string, identity: string): ParticipantInfo | null {
    const held = this.#find(name);
    const participant = held?.participants.get(identity);
    if (held === null || participant === undefined) return null;
    held.participants.delete(identity);
    held.room.numParticipants = held.participants.size;
    held.lastLeftAt = this.#now();
    participant.state = ParticipantInfo_State.DISCONNECTED;
    return participant;
  }

  #find(name: string): HeldRoom | null {
    const held = this.#rooms.get(name);
    if (held === undefined) return null;
    if (this.#now() < endOf(held)) return held;
    this.#rooms.delete(name);
    return null;
  }

  // Drops rooms that nobody asks for any more.
  #sweep(): void {
    const now = this.#now();
    if (now - this.#sweptAt < SWEEP_INTERVAL_MS) return;
    this.#sweptAt = now;
    for (const [name, held] of this.#rooms) if (now >= endOf(held)) this.#rooms.delete(name);
  }
}

function endOf({ room, participants, lastLeftAt }: HeldRoom): number {
  if (participants.size > 0) return Infinity;
  if (lastLeftAt !== null) return lastLeftAt + room.departureTimeout * 1000;
  return Number(room.creationTimeMs) + room.emptyTimeout * 1000;
}

function newId(prefix: string): string {
  return `${prefix}_${randomBytes(9).toString("hex").slice(0, 12)}`;
}
