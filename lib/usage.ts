// What `--help` prints: the commands with their exit codes, and every variable.

import { VARIABLE_GROUPS, VARIABLES } from "./config/variables.ts";

const COMMANDS = `Usage: lk-jwt-service [command]

Commands                                                         Exit codes
  (none)        Run the service until SIGTERM or SIGINT.         0 ended, 1 could not start
  healthcheck   Ask the service on this host for /healthz.       0 it answers 200, 1 it does not
  doctor        Check the whole set-up, with a fix for each       0 fine, 3 warnings, 4 errors
                finding: [--server-name NAME]…
                [--public-url URL] [--json]
  --version     Print the version and what it was built with.    0
  --help        Print this text.                                 0
A command that is none ends with 2.

Every setting is an environment variable; an empty one counts as unset.
`;

/** The whole text. */
export function usage(): string {
  const groups = VARIABLE_GROUPS.map((group) => {
    const lines = VARIABLES.flatMap((variable) => {
      if (variable.group !== group || "isOld" in variable) return [];
      const unset = "unset" in variable ? variable.unset : variable.fallback;
      const note = unset === null ? "" : ` [${plain(unset)}]`;
      return [`  ${variable.name}${note}`, `      ${plain(variable.meaning)}`];
    });
    return [`\n${group}`, ...lines].join("\n");
  });
  return `${COMMANDS}${groups.join("\n")}\n`;
}

/** Markdown as a terminal shows it best. */
function plain(markdown: string): string {
  return markdown.replace(/[`]|\*\*/g, "");
}
