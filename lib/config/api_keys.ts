// LiveKit's API keys: from a key file, from one file per value, or from plain variables, in this order.

import type { ApiKey } from "../livekit/access_token.ts";
import { Secret } from "../secret.ts";
import type { Environment } from "./environment.ts";
import { type KeyFileProblem, parseKeyFile } from "./key_file.ts";
import type { VariableName } from "./variables.ts";

// LiveKit logs an error below this length; HS256 wants as many bits as its hash (RFC 7518, 3.2).
const MIN_SECRET_LENGTH = 32;

/** At least one key, the one that signs first; null when there is a problem. */
export function readApiKeys(env: Environment): readonly [ApiKey, ...ApiKey[]] | null {
  const keys = env.given("LIVEKIT_KEY_FILE") === undefined ? readSingleKey(env) : readKeyFile(env);
  for (const { name, secret } of keys ?? []) warnAboutSecret(name, secret.reveal(), env);
  return keys;
}

function readKeyFile(env: Environment): readonly [ApiKey, ...ApiKey[]] | null {
  const path = env.given("LIVEKIT_KEY_FILE");
  const text = env.readFileOf("LIVEKIT_KEY_FILE");
  if (text === undefined) return null;
  const parsed = parseKeyFile(text);
  if (!parsed.ok) {
    addKeyFileProblem(env, parsed);
    return null;
  }
  const { keys } = parsed;
  const ignored: VariableName[] = (["LIVEKIT_KEY_FROM_FILE", "LIVEKIT_SECRET", "LIVEKIT_SECRET_FROM_FILE"] as const)
    .filter((name) => env.given(name) !== undefined);
  const wanted = env.given("LIVEKIT_KEY");
  const [first] = keys;
  const signing = keys.find(({ name }) => name === wanted);
  if (wanted !== undefined && signing === undefined) {
    if (keys.length > 1) {
      env.problems.add("LIVEKIT_KEY", `is "${wanted}"`, `one of the keys in "${path}"`);
      return null;
    }
    ignored.push("LIVEKIT_KEY");
  }
  if (ignored.length > 0) env.problems.warn(`LIVEKIT_KEY_FILE is set, so ${ignored.join(", ")} had no effect`);
  const signs = signing ?? first;
  return [signs, ...keys.filter((key) => key !== signs)];
}

function addKeyFileProblem(env: Environment, { reason, expected }: KeyFileProblem): void {
  env.problems.add("LIVEKIT_KEY_FILE", `names "${env.given("LIVEKIT_KEY_FILE")}", which ${reason}`, expected);
}

function readSingleKey(env: Environment): readonly [ApiKey] | null {
  const name = readValue(env, "LIVEKIT_KEY", "LIVEKIT_KEY_FROM_FILE");
  const secret = readValue(env, "LIVEKIT_SECRET", "LIVEKIT_SECRET_FROM_FILE");
  return name === null || secret === null ? null : [{ name, secret: new Secret(secret) }];
}

function readValue(env: Environment, plain: VariableName, fromFile: VariableName): string | null {
  if (env.given(fromFile) !== undefined) {
    if (env.given(plain) !== undefined) env.problems.warn(`${fromFile} is set, so ${plain} had no effect`);
    const text = env.readFileOf(fromFile);
    const reason = text === undefined ? null : reasonAgainst(text);
    if (reason !== null) {
      env.problems.add(fromFile, `names "${env.given(fromFile)}", which ${reason}`, "a file with the value alone");
    }
    return reason === null ? text ?? null : null;
  }
  const value = env.given(plain);
  if (value === undefined) env.problems.add(plain, "is not set", `${plain}, ${fromFile} or LIVEKIT_KEY_FILE`);
  else if (value.includes("\n")) env.problems.add(plain, "has several lines", "the value alone");
  return value ?? null;
}

function reasonAgainst(text: string): string | null {
  if (text === "") return "is empty";
  if (/[\r\n]/.test(text)) return "has several lines";
  if (/^(["']).*\1$/.test(text)) return "has quotes around its value";
  return /^LIVEKIT_\w+=/.test(text) ? "has the name of a variable before its value" : null;
}

function warnAboutSecret(name: string, secret: string, { problems }: Environment): void {
  if (secret.length < MIN_SECRET_LENGTH) {
    problems.warn(`The secret of API key "${name}" has under ${MIN_SECRET_LENGTH} characters: it can be guessed`);
  }
  if (/[^\x20-\x7e]/.test(secret)) {
    problems.warn(`The secret of API key "${name}" has characters beyond ASCII: LiveKit may read them differently`);
  }
}
