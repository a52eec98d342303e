// Variables that look like ours and are none: mistyped, renamed, or of a mode that is not there.

import { closest } from "fastest-levenshtein";
import type { EnvironmentVariables } from "./environment.ts";
import { type VariableName, VARIABLES } from "./variables.ts";

const KNOWN: ReadonlySet<string> = new Set(VARIABLES.map(({ name }) => name));
const SUGGESTED = VARIABLES.flatMap((variable) => "isOld" in variable ? [] : [variable.name]);

// Names of former releases, and names that people took for right.
const MEANT: Readonly<Record<string, VariableName>> = {
  LK_JWT_BIND: "LIVEKIT_JWT_BIND",
  LIVEKIT_SECRET_FILE: "LIVEKIT_SECRET_FROM_FILE",
  LIVEKIT_API_KEY: "LIVEKIT_KEY",
  LIVEKIT_API_SECRET: "LIVEKIT_SECRET",
};

const APPLICATION_SERVICE = /^LIVEKIT_(AS|HS)_/;

// Kubernetes sets these for a Service that happens to be called "livekit" or "lk-jwt-service".
const SERVICE_LINK = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)$/;

/** A variable that has no effect, and why: the end of a sentence that begins with its name. */
export interface UnknownVariable {
  readonly name: string;
  readonly hint: string;
}

/** Finds `LIVEKIT_*` and `LK_JWT_*` variables that are set (an empty one is not) and not known. */
export function findUnknownVariables(variables: EnvironmentVariables): UnknownVariable[] {
  return Object.entries(variables).flatMap(([name, value]) => {
    if (!/^(LIVEKIT_|LK_JWT_)/.test(name) || KNOWN.has(name) || !value) return [];
    if (APPLICATION_SERVICE.test(name)) {
      return [{ name, hint: "has no effect: the application-service mode is not supported in this version" }];
    }
    if (MEANT[name] === undefined && SERVICE_LINK.test(name)) return [];
    const meant = MEANT[name] ?? closest(name, SUGGESTED);
    return [{ name, hint: `is not a variable of this service and has no effect: did you mean ${meant}?` }];
  });
}
