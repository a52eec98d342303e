// Configurations for tests: an environment, files that exist in memory, and what came of them.

import assert from "node:assert/strict";
import { type Config, parseConfig, type ParsedConfig } from "../../lib/config/config.ts";

/** The least that starts without a warning. */
export const MINIMAL = {
  LIVEKIT_URL: "wss://sfu.example.com",
  LIVEKIT_KEY: "devkey",
  LIVEKIT_SECRET: "a secret of at least 32 characters",
  LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
} as const;

type Variables = Readonly<Record<string, string | undefined>>;
type Files = Readonly<Record<string, string>>;

/** A configuration that starts. */
export type GoodConfig = Extract<ParsedConfig, { readonly ok: true }>;

/** Parses {@link MINIMAL} with changes; undefined takes a variable away. It must start. */
export function parse(changes: Variables = {}, files: Files = {}): GoodConfig {
  return parseAlone({ ...MINIMAL, ...changes }, files);
}

/** Parses these variables and no others. They must start. */
export function parseAlone(variables: Variables, files: Files = {}): GoodConfig {
  const parsed = tryToParse(variables, files);
  assert.ok(parsed.ok, parsed.ok ? "" : parsed.problems.join("\n"));
  return parsed;
}

/** Parses these variables and no others, whatever comes of it. */
export function tryToParse(variables: Variables, files: Files = {}): ParsedConfig {
  return parseConfig(variables, (path) => {
    const text = files[path];
    if (text === undefined) throw new Deno.errors.NotFound("No such file or directory (os error 2)");
    return text;
  });
}

/** The configuration alone. */
export function configOf(changes: Variables = {}, files: Files = {}): Config {
  return parse(changes, files).config;
}

/** The problems for which the service refuses to start. */
export function problemsOf(changes: Variables, files: Files = {}): readonly string[] {
  const parsed = tryToParse({ ...MINIMAL, ...changes }, files);
  assert.ok(!parsed.ok, `started with ${JSON.stringify(changes)}`);
  return parsed.problems;
}
