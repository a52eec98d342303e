// The doctor's report: text for people, one JSON document for programs.

import { type Check, type Outcome, worstOf } from "./check.ts";
import type { PasteBlock } from "./paste_blocks.ts";

/** Exit codes of the doctor; 2 is misuse of the command line. */
export const EXIT_CODES = { ok: 0, warning: 3, error: 4 } as const;

const MARKS: Readonly<Record<Outcome, string>> = {
  ok: "ok     ",
  warning: "WARNING",
  error: "ERROR  ",
  skipped: "skipped",
};
const COLORS: Readonly<Record<Outcome, string>> = { ok: "32", warning: "33", error: "31", skipped: "90" };

const GROUPS: ReadonlyArray<readonly [prefix: string, heading: string]> = [
  ["own.", "This service"],
  ["sfu.", "LiveKit"],
  ["homeserver.", "Homeservers"],
  ["public.", "Through the proxy"],
];

/** One JSON document: `{version, outcome, checks}`. */
export function jsonReport(version: string, checks: readonly Check[]): string {
  return JSON.stringify({ version, outcome: worstOf(checks), checks }, null, 2);
}

/**
 * The report for people, grouped; each check that is not right with what was asked, what came back, and the fix.
 *
 * @param color Whether a terminal shows it.
 */
export function textReport(checks: readonly Check[], blocks: readonly PasteBlock[], color: boolean): string {
  const lines: string[] = [];
  for (const [prefix, heading] of GROUPS) {
    const group = checks.filter(({ id }) => id.startsWith(prefix));
    if (group.length === 0) continue;
    lines.push("", heading);
    for (const check of group) lines.push(...linesOf(check, color));
  }
  const count = (outcome: Outcome) => checks.filter((check) => check.outcome === outcome).length;
  lines.push(
    "",
    `${count("ok")} ok, ${count("warning")} warnings, ${count("error")} errors, ${count("skipped")} skipped`,
  );
  if (worstOf(checks) !== "ok") {
    lines.push("", "To paste, where the findings above ask for it:");
    for (const { where, text } of blocks) lines.push("", `# ${where}`, text);
  }
  return `${lines.join("\n").trimStart()}\n`;
}

function linesOf({ id, title, outcome, asked, answered, fix }: Check, color: boolean): string[] {
  const mark = color ? `\x1b[${COLORS[outcome]}m${MARKS[outcome]}\x1b[0m` : MARKS[outcome];
  const first = `  ${mark} ${title}`;
  if (fix === null) return [`${first}: ${safe(answered)}`];
  return [
    `${first} (${id})`,
    `            asked: ${safe(asked)}`,
    `            came back: ${safe(answered)}`,
    `            fix: ${fix}`,
  ];
}

// What a remote server wrote must not steer the terminal.
function safe(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu, "·");
}
