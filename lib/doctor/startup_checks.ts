// The checks that a service makes of its surroundings in the background: once when it is up, and again while something is
// wrong. Never holds anything up, never ends anything.

import type { Clock } from "../async/clock.ts";
import { errorText } from "../log/error_text.ts";
import type { Log } from "../log/log.ts";
import type { Check } from "./check.ts";

/** What the background checks need. */
export interface StartupChecksDeps {
  /** One round of checks. */
  readonly check: (signal: AbortSignal) => Promise<readonly Check[]>;
  readonly clock: Clock;
  readonly log: Log;
}

const ROUND_TIMEOUT_MS = 30_000;
const FIRST_PAUSE_MS = 30_000;
const MAX_PAUSE_MS = 60 * 60_000;

/** Tells each finding once, with its fix, and once when it is right again. */
export class StartupChecks {
  readonly #deps: StartupChecksDeps;
  readonly #end = new AbortController();
  #findings: ReadonlyMap<string, Check> = new Map();

  constructor(deps: StartupChecksDeps) {
    this.#deps = deps;
  }

  /** What is wrong, as far as the last round knows. */
  get findings(): readonly Check[] {
    return [...this.#findings.values()];
  }

  /** Begins; settles once nothing is wrong any more, or at {@link StartupChecks.close}. */
  async run(): Promise<void> {
    const { clock } = this.#deps;
    for (let pauseMs = FIRST_PAUSE_MS; !this.#end.signal.aborted; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      await this.#round();
      if (this.#findings.size === 0) return;
      await clock.sleep(pauseMs, this.#end.signal).catch(() => {});
    }
  }

  close(): void {
    this.#end.abort();
  }

  async #round(): Promise<void> {
    const { check, clock, log } = this.#deps;
    const timeout = new AbortController();
    const cancel = clock.setTimer(() => timeout.abort(), ROUND_TIMEOUT_MS);
    try {
      const checks = await check(AbortSignal.any([timeout.signal, this.#end.signal]));
      if (!this.#end.signal.aborted) this.#tell(checks);
    } catch (failure) {
      log.error("Cannot check the set-up: this is a bug", { error: errorText(failure) });
    } finally {
      cancel();
    }
  }

  #tell(checks: readonly Check[]): void {
    const { log } = this.#deps;
    const wrong = new Map(checks.flatMap((check) => isWrong(check) ? [[keyOf(check), check]] : []));
    for (const [key, check] of wrong) {
      if (this.#findings.get(key)?.answered === check.answered) continue;
      const { id, asked, answered, fix, title } = check;
      const fields = { check: id, expected: title, asked, answered, fix };
      if (check.outcome === "error") log.error("The set-up has a mistake", fields);
      else log.warning("The set-up is not complete", fields);
    }
    for (const [key, { id, title }] of this.#findings) {
      if (!wrong.has(key)) log.info("The set-up is right again", { check: id, title });
    }
    this.#findings = wrong;
  }
}

function isWrong({ outcome }: Check): boolean {
  return outcome === "error" || outcome === "warning";
}

function keyOf({ id, title }: Check): string {
  return `${id} ${title}`;
}
