// Checks of the service's own surroundings: its configuration, its state directory, and what a running service tells
// about itself. Opens nothing that a running service holds.

import { parseJson } from "../net/json.ts";
import { errorText } from "../log/error_text.ts";
import * as v from "valibot";
import { type Check, error, ok, skipped, warning } from "./check.ts";
import type { Probe } from "./probe.ts";

/** What is seen of a directory. */
export interface DirectoryFacts {
  readonly isDirectory: boolean;
  /** For this user. */
  readonly isWritable: boolean;
  readonly isWorldWritable: boolean;
}

/**
 * Looks at a directory, by a file of its own that is gone again.
 *
 * @throws When there is nothing to look at.
 */
export function directoryFacts(path: string): DirectoryFacts {
  const { isDirectory, mode } = Deno.statSync(path);
  return { isDirectory, isWritable: isDirectory && canWrite(path), isWorldWritable: ((mode ?? 0) & 0o002) !== 0 };
}

function canWrite(directory: string): boolean {
  const path = `${directory}/.doctor-${crypto.randomUUID()}`;
  try {
    Deno.openSync(path, { write: true, createNew: true }).close();
    Deno.removeSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Judges the configuration: each problem is an error, each warning a warning. */
export function checkConfiguration(problems: readonly string[], warnings: readonly string[]): Check[] {
  const question = { id: "own.configuration", title: "The variables are understood", asked: "the environment" };
  const fix = "See `lk-jwt-service --help`, and the settings in README.md";
  const findings = [
    ...problems.map((problem) => error(question, problem, fix)),
    ...warnings.map((text) => warning(question, text, fix)),
  ];
  return findings.length > 0 ? findings : [ok(question, "no problem")];
}

/** Judges where delegated leaves are kept. */
export function checkStateDirectory(
  { stateDir, usesRedis, delegation }: { stateDir: string | null; usesRedis: boolean; delegation: boolean },
  factsOf: (path: string) => DirectoryFacts = directoryFacts,
): Check {
  const question = {
    id: "own.state_directory",
    title: "Delegated leave events survive a restart",
    asked: "LIVEKIT_STATE_DIR, STATE_DIRECTORY or LIVEKIT_REDIS_URL",
  };
  if (!delegation) return skipped(question, "LIVEKIT_DELEGATION is off");
  if (usesRedis) return ok(question, "kept in Redis (see own.redis)");
  if (stateDir === null) {
    return warning(
      question,
      "kept in memory only",
      "Set LIVEKIT_STATE_DIR to a directory that outlives the container, or LIVEKIT_REDIS_URL for several replicas",
    );
  }
  const named = { ...question, asked: `the directory "${stateDir}"` };
  try {
    const { isDirectory, isWritable, isWorldWritable } = factsOf(stateDir);
    if (!isDirectory) return error(named, "not a directory", "Name a directory in LIVEKIT_STATE_DIR");
    if (!isWritable) return error(named, "not writable for this user", `Give it to the user that runs the service`);
    if (isWorldWritable) {
      return warning(named, "writable for everybody", `Take it away from others: chmod o-w "${stateDir}"`);
    }
    return ok(named, "a directory of this user");
  } catch (failure) {
    return error(named, errorText(failure), "Create it, and give it to the user that runs the service");
  }
}

const Status = v.looseObject({
  version: v.string(),
  last_webhook_seconds_ago: v.nullable(v.number()),
  jobs: v.object({ waiting: v.number(), connected: v.number(), leaving: v.number() }),
});

/** Asks the running service what only it can know; skipped where it tells nothing. */
export async function checkRunning(statusUrl: URL | null, probe: Probe, signal: AbortSignal): Promise<Check> {
  const question = {
    id: "own.webhooks",
    title: "LiveKit's webhooks arrive",
    asked: statusUrl === null ? "LIVEKIT_METRICS_BIND" : `GET ${statusUrl}`,
  };
  if (statusUrl === null) return skipped(question, "only a running service with LIVEKIT_METRICS_BIND can tell");
  const asked = await probe(statusUrl, { rule: "operator" }, signal);
  if (asked.outcome === "no-answer") return skipped(question, `no running service there: ${asked.message}`);
  const status = v.safeParse(Status, parseJson(asked.response.body));
  if (!status.success) return skipped(question, "what answers there is not this service");
  const { last_webhook_seconds_ago: age, jobs } = status.output;
  if (age !== null) return ok(question, `the last one ${Math.round(age)} s ago`);
  const fix = "Set `webhook: {api_key: …, urls: [http://this-service:8080/sfu_webhook]}` in livekit.yaml with one of " +
    "LiveKit's keys, at an address that LiveKit reaches";
  if (jobs.connected + jobs.leaving > 0) return error(question, "none since the start, while people are in calls", fix);
  return warning(question, "none since the start", fix);
}
