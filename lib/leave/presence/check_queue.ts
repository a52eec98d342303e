// One queue for all presence checks, in two classes, so that neither a poll of ten thousand rooms nor a node of the SFU
// that hangs delays the check behind somebody's leave. An SFU that refuses connections is asked by one probe at a time.

import type { Clock } from "../../async/clock.ts";
import { DeadlineError } from "../../async/deadline.ts";
import { Fifo } from "../../async/queue.ts";
import { BoundedMap } from "../../cache/bounded_map.ts";
import type { RoomAlias } from "../../livekit/identity.ts";
import { SfuError, type SfuFailure } from "../../livekit/sfu_error.ts";

/** Which check goes first: one that something happened for, or one of many that make sure. */
export type CheckClass = "prompt" | "routine";

/** A check that was not made, since the SFU, or the node that has the room, did not answer a moment ago. */
export class CheckSkipped extends Error {
  override name = "CheckSkipped";
}

interface Task {
  readonly start: (timeoutMs: number) => Promise<void>;
  readonly skip: () => void;
}

/** The checks of one room. */
interface Line {
  readonly room: RoomAlias;
  readonly prompt: Fifo<Task>;
  readonly routine: Fifo<Task>;
  underWay: number;
}

type Lane = Readonly<Record<CheckClass, Set<Line>>> & { underWay: number };

// Together with each other below what one host is connected to: rooms are created over the same connections.
const CHECKS_AT_ONCE = 24;
const ROUTINE_AT_ONCE = 12;
const PER_ROOM = 4;
// Rooms that did not answer last time wait among themselves, one check each.
const SUSPECTS_AT_ONCE = 16;
const MAX_SUSPECTS = 10_000;
const TIMEOUT_MS = 2000;
const SUSPECT_TIMEOUT_MS = 3000;
// While many rooms hang it has to be found out quickly which ones do not: an SFU that is well answers within 10 ms.
const HANGING_TIMEOUT_MS = 500;
const HANGING_CHECKS = 8;
const HANGING_WITHIN_MS = 10_000;
const FIRST_PROBE_PAUSE_MS = 250;
const MAX_PROBE_PAUSE_MS = 5000;

const REFUSALS: ReadonlySet<SfuFailure> = new Set(["dns", "connect", "tls"]);

/** Runs presence checks in their turns. */
export class CheckQueue {
  readonly #clock: Pick<Clock, "monotonicNow">;
  readonly #lines = new Map<RoomAlias, Line>();
  readonly #suspects = new BoundedMap<RoomAlias, true>(MAX_SUSPECTS);
  readonly #well: Lane = { prompt: new Set(), routine: new Set(), underWay: 0 };
  readonly #hanging: Lane = { prompt: new Set(), routine: new Set(), underWay: 0 };
  #routineUnderWay = 0;
  #timeouts: number[] = [];
  /** Above 0 = the circuit breaker is open. */
  #probePauseMs = 0;
  #probeAt = -Infinity;

  constructor(clock: Pick<Clock, "monotonicNow">) {
    this.#clock = clock;
  }

  /**
   * Runs a check when its turn has come.
   *
   * @param check Throws what the SFU did not answer: SfuError, or DeadlineError past the time it is given.
   * @throws What the check throws; CheckSkipped where asking again would be of no use.
   */
  run<T>(room: RoomAlias, of: CheckClass, check: (timeoutMs: number) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const line = this.#lines.get(room) ?? { room, prompt: new Fifo(), routine: new Fifo(), underWay: 0 };
      this.#lines.set(room, line);
      line[of].push({
        start: async (timeoutMs) => {
          try {
            const result = await check(timeoutMs);
            this.#answered(line);
            resolve(result);
          } catch (error) {
            this.#failed(line, error);
            reject(error);
          }
        },
        skip: () => reject(new CheckSkipped("The SFU did not answer a moment ago")),
      });
      this.#file(line);
      this.#pump();
    });
  }

  #pump(): void {
    for (let line = this.#next(); line !== undefined; line = this.#next()) {
      const of = line.prompt.length > 0 ? "prompt" : "routine";
      const task = line[of].shift();
      if (task === undefined) continue;
      if (this.#isBroken()) {
        task.skip();
        this.#file(line);
      } else {
        this.#start(line, task, of);
      }
    }
  }

  /** Whoever is asked next: rooms take turns, those that answered before those that hang. */
  #next(): Line | undefined {
    const [well, hanging] = [this.#well, this.#hanging];
    if (well.underWay < CHECKS_AT_ONCE) {
      const line = firstOf(well.prompt) ??
        (this.#routineUnderWay < ROUTINE_AT_ONCE ? firstOf(well.routine) : undefined);
      if (line !== undefined) return line;
    }
    return hanging.underWay < SUSPECTS_AT_ONCE ? firstOf(hanging.prompt) ?? firstOf(hanging.routine) : undefined;
  }

  #start(line: Line, task: Task, of: CheckClass): void {
    const isSuspect = this.#suspects.has(line.room);
    const lane = isSuspect ? this.#hanging : this.#well;
    lane.underWay++;
    line.underWay++;
    if (of === "routine" && !isSuspect) this.#routineUnderWay++;
    if (this.#probePauseMs > 0) this.#probeAt = Infinity; // half-open: what comes meanwhile is skipped
    this.#file(line);
    const timeoutMs = isSuspect ? SUSPECT_TIMEOUT_MS : this.#isHanging() ? HANGING_TIMEOUT_MS : TIMEOUT_MS;
    void task.start(timeoutMs).then(() => {
      lane.underWay--;
      line.underWay--;
      if (of === "routine" && !isSuspect) this.#routineUnderWay--;
      this.#file(line);
      this.#pump();
    });
  }

  #answered({ room }: Line): void {
    this.#probePauseMs = 0;
    this.#suspects.delete(room);
  }

  #failed(line: Line, error: unknown): void {
    const now = this.#clock.monotonicNow();
    const failure = error instanceof SfuError ? error.failure : null;
    if (failure !== null && REFUSALS.has(failure)) {
      this.#probePauseMs = Math.min(Math.max(this.#probePauseMs * 2, FIRST_PROBE_PAUSE_MS), MAX_PROBE_PAUSE_MS);
      this.#probeAt = now + this.#probePauseMs;
    } else if (error instanceof DeadlineError || failure === "timeout") {
      if (this.#probePauseMs > 0) this.#probeAt = now;
      this.#timeouts = [...this.#timeouts.slice(1 - HANGING_CHECKS), now];
      this.#suspects.set(line.room, true);
      // Who waits for the same node would hear the same.
      for (const tasks of [line.prompt, line.routine]) for (const task of tasks.retain(() => false)) task.skip();
    } else {
      this.#answered(line);
    }
  }

  #isBroken(): boolean {
    return this.#probePauseMs > 0 && this.#clock.monotonicNow() < this.#probeAt;
  }

  #isHanging(): boolean {
    const [first = -Infinity] = this.#timeouts;
    return this.#timeouts.length === HANGING_CHECKS && this.#clock.monotonicNow() - first < HANGING_WITHIN_MS;
  }

  /** Puts a room's line where it belongs, behind the others. */
  #file(line: Line): void {
    const isSuspect = this.#suspects.has(line.room);
    const hasRoom = line.underWay < (isSuspect ? 1 : PER_ROOM);
    for (const  of of["prompt", "routine"] as const) {
      this.#well[of].delete(line);
      this.#hanging[of].delete(line);
      if (hasRoom && line[of].length > 0) (isSuspect ? this.#hanging : this.#well)[of].add(line);
    }
    if (line.underWay + line.prompt.length + line.routine.length === 0) this.#lines.delete(line.room);
  }
}

function firstOf(lines: ReadonlySet<Line>): Line | undefined {
  const [first] = lines;
  return first;
}
