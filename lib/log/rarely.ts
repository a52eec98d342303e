// Says a thing once a minute per subject, however often it happens: whatever anybody can trigger must not fill a log.

const PERIOD_MS = 60_000;
const MAX_SUBJECTS = 1000;

/** Remembers what was said when, for at most 1,000 subjects. */
export class Rarely {
  readonly #saidAt = new Map<string, number>();
  readonly #now: () => number;

  /** @param monotonicNow A clock that never jumps, in ms. */
  constructor(monotonicNow: () => number) {
    this.#now = monotonicNow;
  }

  /** Runs `say` unless it ran for this subject within the last minute. */
  once(subject: string, say: () => void): void {
    const now = this.#now();
    const last = this.#saidAt.get(subject);
    if (last !== undefined && now - last < PERIOD_MS) return;
    this.#saidAt.delete(subject);
    this.#saidAt.set(subject, now);
    const oldest = this.#saidAt.keys().next();
    if (this.#saidAt.size > MAX_SUBJECTS && !oldest.done) this.#saidAt.delete(oldest.value);
    say();
  }
}
