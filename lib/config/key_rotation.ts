// New API keys without a restart: the files that hold them are read anew, and take over all at once or not at all.

import type { ApiKey } from "../livekit/access_token.ts";
import type { Log } from "../log/log.ts";
import { readApiKeys } from "./api_keys.ts";
import { Environment, type EnvironmentVariables, type ReadTextFile } from "./environment.ts";

/** What a rotation needs from outside. */
export interface KeyRotationDeps {
  /** The environment as it was at the start: it can no longer be read. */
  readonly variables: EnvironmentVariables;
  readonly readTextFile: ReadTextFile;
  /** Signs with the first of these keys, and takes webhooks signed with any, from now on. */
  readonly useKeys: (keys: readonly [ApiKey, ...ApiKey[]]) => void;
  readonly log: Log;
}

const NAMING_KEY_FILES = ["LIVEKIT_KEY_FILE", "LIVEKIT_KEY_FROM_FILE", "LIVEKIT_SECRET_FROM_FILE"] as const;

/** Reads the API keys anew and uses them; what is wrong with the files is one line of the log, and the old keys stay. */
export function rotateKeys({ variables, readTextFile, useKeys, log }: KeyRotationDeps): void {
  const env = new Environment(variables, readTextFile);
  const { found, warnings } = env.problems;
  if (NAMING_KEY_FILES.every((name) => env.given(name) === undefined)) {
    return log.info("Nothing to read anew: no API key comes from a file");
  }
  const alreadyKnown = warnings.length;
  const keys = readApiKeys(env);
  if (keys === null || found.length > 0) {
    return log.error("Cannot read the API keys anew, the old ones stay", { problems: found });
  }
  for (const warning of warnings.slice(alreadyKnown)) log.warning(warning);
  useKeys(keys);
  log.info("Read the API keys anew", { signs: keys[0].name, takes_webhooks_of: keys.map(({ name }) => name) });
}
