// A user's membership of a call in room state, and the delayed leave event behind it (MSC4140), as Element Call makes
// them. What the homeserver shows is what the tests believe.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { CALL_MEMBER, type MatrixUser } from "./matrix.ts";

const POLL_MS = 200;

/** Where a user takes part: one device in one room. */
export interface Seat {
  readonly user: MatrixUser;
  readonly roomId: string;
  readonly deviceId: string;
}

/** How a membership may differ. */
export interface MembershipOptions {
  /** The delayed event's own delay. */
  readonly delayMs: number;
  /** Type of the state event; the user must be allowed to send it. */
  readonly type?: string;
}

/** A membership that the room shows until its leave fires. */
export class Membership {
  readonly delayId: string;
  readonly delayMs: number;
  readonly #seat: Seat;
  readonly #type: string;

  private constructor(seat: Seat, type: string, delayId: string, delayMs: number) {
    this.#seat = seat;
    this.#type = type;
    this.delayId = delayId;
    this.delayMs = delayMs;
  }

  /** Schedules the leave, then sends the membership: in this order nobody becomes a ghost. */
  static async begin(seat: Seat, { delayMs, type = CALL_MEMBER }: MembershipOptions): Promise<Membership> {
    const { user, roomId, deviceId } = seat;
    const delayId = await user.scheduleState(roomId, type, stateKeyOf(seat), {}, delayMs);
    await user.setState(roomId, type, stateKeyOf(seat), { application: "m.call", call_id: "", device_id: deviceId });
    return new Membership(seat, type, delayId, delayMs);
  }

  /** Whether the room shows the leave, as its homeserver or another user's tells it. */
  async hasLeft(as: MatrixUser = this.#seat.user): Promise<boolean> {
    const content = await as.state(this.#seat.roomId, this.#type, stateKeyOf(this.#seat));
    return Object.keys(content).length === 0;
  }

  /** Waits for the leave, and gives the ms that it took; fails when it does not come in time. */
  async untilLeft(timeoutMs: number, as?: MatrixUser): Promise<number> {
    const startedAt = performance.now();
    while (!await this.hasLeft(as)) {
      if (performance.now() - startedAt > timeoutMs) assert.fail(`${this.#name} shows no leave after ${timeoutMs} ms`);
      await sleep(POLL_MS);
    }
    return performance.now() - startedAt;
  }

  /** Waits, and fails as soon as the room shows the leave. */
  async staysFor(durationMs: number): Promise<void> {
    const startedAt = performance.now();
    do {
      const elapsedMs = Math.round(performance.now() - startedAt);
      assert.equal(await this.hasLeft(), false, `${this.#name} shows a leave after ${elapsedMs} ms of ${durationMs}`);
      await sleep(POLL_MS);
    } while (performance.now() - startedAt < durationMs);
  }

  get #name(): string {
    return `The membership of "${this.#seat.deviceId}" (delay ${this.delayMs} ms, "${this.delayId}")`;
  }
}

function stateKeyOf({ user, deviceId }: Seat): string {
  return `_${user.userId}_${deviceId}_m.call`;
}
