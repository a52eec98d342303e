// One check of a set-up: what was asked, what came back, and the one thing to do about it. The doctor prints checks, the
// service logs those that are not right after its start, tests assert them by id.

/**
 * How a check ended.
 * - `ok`: as it should be.
 * - `warning`: works, but not for everybody, not safely, or not for long.
 * - `error`: calls do not work, or a promise of the set-up is void.
 * - `skipped`: nothing to ask, or not to be told from here; never counts against a set-up.
 */
export type Outcome = "ok" | "warning" | "error" | "skipped";

/** The result of a check. All texts are for an operator; none holds a secret or a token. */
export interface Check {
  /** Stable name, `group.name`: what tests, scripts and alerts go by. */
  readonly id: string;
  /** What is right when the outcome is `ok`. With the server name where there are several. */
  readonly title: string;
  readonly outcome: Outcome;
  /** Method and URL without query, file, or variable. */
  readonly asked: string;
  readonly answered: string;
  /** What to do; null when there is nothing. */
  readonly fix: string | null;
}

/** What a check is about, before its end is known. */
export type Question = Pick<Check, "id" | "title" | "asked">;

export function ok(question: Question, answered: string): Check {
  return { ...question, outcome: "ok", answered, fix: null };
}

export function warning(question: Question, answered: string, fix: string): Check {
  return { ...question, outcome: "warning", answered, fix };
}

export function error(question: Question, answered: string, fix: string): Check {
  return { ...question, outcome: "error", answered, fix };
}

/** @param why Told as the answer. */
export function skipped(question: Question, why: string): Check {
  return { ...question, outcome: "skipped", answered: why, fix: null };
}

/** The worst outcome among checks: `error`, `warning`, or `ok` where nothing is wrong. */
export function worstOf(checks: readonly Check[]): "ok" | "warning" | "error" {
  if (checks.some(({ outcome }) => outcome === "error")) return "error";
  return checks.some(({ outcome }) => outcome === "warning") ? "warning" : "ok";
}
