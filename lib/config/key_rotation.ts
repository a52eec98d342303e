// New API keys without a restart: the files that hold them are read anew, and take over all at once or not at all.

import { Environment, Problems } from "./values.ts";
import { readApiKeys } from "./api_keys.ts";
import type { Log } from "../log/log.ts";
import type { Service } from "../service.ts";

/** What a rotation needs from outside. */
export interface KeyRotationDeps {
  /** The environment as it was at the start: it can no longer be read. */
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly readTextFile: (path: string) => string;
  readonly service: Pick<Service, "useKeys">;
  readonly log: Log;
}

const NAMING_FILES = ["LIVEKIT_KEY_FILE", "LIVEKIT_KEY_FROM_FILE", "LIVEKIT_SECRET_FROM_FILE"];

/** Reads the API keys anew and uses them; what is wrong with the files is one line of the log, and the old keys stay. */
export function rotateKeys({ variables, readTextFile, service, log }: KeyRotationDeps): void {
  const problems = new Problems();
  const env = new Environment(variables, readTextFile, problems);
  if (NAMING_FILES.every((name) => env.get(name) === undefined)) {
    return log.info("Nothing to read anew: no API key comes from a file");
  }
  const alreadySaid = problems.warnings.length;
  const keys = readApiKeys(env, problems);
  if (keys === null || problems.found.length > 0) {
    return log.error("Cannot read the API keys anew, the old ones stay", { problems: problems.found });
  }
  for (const warning of problems.warnings.slice(alreadySaid)) log.warning(warning);
  service.useKeys(keys);
  log.info("Read the API keys anew", { signs: keys[0].name, takes_webhooks_of: keys.map(({ name }) => name) });
}
