// Files with secrets that everybody on the host can read: worth a warning, unless they were mounted for this service,
// where the mode says nothing about who gets to see them.

import type { EnvironmentVariables } from "./environment.ts";
import { VARIABLES } from "./variables.ts";

/** What is known of a file. */
export interface FileFacts {
  /** Permission bits; null where the system has none. */
  readonly mode: number | null;
  /** Where its links lead in the end. */
  readonly realPath: string;
}

const NAMING_SECRETS = VARIABLES.flatMap((variable) =>
  "namesFile" in variable && "isSecret" in variable ? [variable.name] : []
);
const READABLE_BY_OTHERS = 0o004;

// Kubernetes mounts secrets with mode 0644, as links to a folder whose name begins with two dots; Docker and Podman put
// theirs, with mode 0444, below /run/secrets.
const MOUNTED = /\/\.\.[^/]|^(\/var)?\/run\/secrets\//;

/**
 * Warnings about secret files that every user of the host can read. That the group can is how services get their secrets.
 *
 * @param factsOf null for a file that cannot be looked at.
 * @param isInContainer Nobody else is there to read it.
 */
export function warnAboutReadableSecrets(
  variables: EnvironmentVariables,
  factsOf: (path: string) => FileFacts | null,
  isInContainer: boolean,
): string[] {
  if (isInContainer) return [];
  return NAMING_SECRETS.flatMap((name) => {
    const path = variables[name];
    const facts = path ? factsOf(path) : null;
    if (facts === null || facts.mode === null || (facts.mode & READABLE_BY_OTHERS) === 0) return [];
    if (MOUNTED.test(facts.realPath)) return [];
    return [
      `${name} names "${path}", which every user of this host can read (mode ${octal(facts.mode)}): give it to the ` +
      "service's user or group alone, such as by chmod 640",
    ];
  });
}

/** Looks at a file. */
export function readFileFacts(path: string): FileFacts | null {
  try {
    return { mode: Deno.statSync(path).mode, realPath: Deno.realPathSync(path) };
  } catch {
    return null;
  }
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}
