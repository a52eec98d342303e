// What operators write for server names: lists and overrides in which an entry can match nobody, with what to write.

import { parseServerName } from "../matrix/server_name.ts";
import type { Environment } from "./environment.ts";
import { splitList } from "./values.ts";
import { entryWithoutUserInfo } from "./urls.ts";
import type { VariableName } from "./variables.ts";

const FULL_ACCESS = "LIVEKIT_FULL_ACCESS_HOMESERVERS";
const FORMER = "LIVEKIT_LOCAL_HOMESERVERS";

/** Whose users have full access: all (`*` alone, or nothing said), or those of the servers listed. */
export function readFullAccess(env: Environment): "*" | ReadonlySet<string> {
  const text = fullAccessText(env);
  const entries = splitList(text);
  if (entries.length === 1 && entries[0] === "*") {
    const found = env.given(FULL_ACCESS) === undefined ? "is not set" : 'is "*"';
    env.problems.warn(
      `${FULL_ACCESS} ${found}: users of every homeserver may create rooms here. List your own servers, separated by ` +
        "commas",
    );
    return "*";
  }
  if (entries.includes("*")) {
    env.problems.warn(`${FULL_ACCESS} has "*" beside other names: it is ignored, since only alone it counts`);
  }
  for (const entry of entries) {
    if (entry !== "*") warnIfItMatchesNobody(env, FULL_ACCESS, entryWithoutUserInfo(text, entry), entry);
  }
  const names = entries.filter((entry) => parseServerName(entry) !== null);
  if (names.length === 0) {
    env.problems.warn(`${FULL_ACCESS} names no server: nobody has full access, so no room can be created`);
  }
  return new Set(names);
}

/** An old list must not open the door to everybody: it counts under its new name. */
function fullAccessText(env: Environment): string {
  const [now, former] = [env.given(FULL_ACCESS), env.given(FORMER)];
  if (former === undefined) return env.get(FULL_ACCESS);
  if (now === undefined) {
    env.problems.warn(`${FORMER} is the former name of ${FULL_ACCESS}, and counts as such: rename it`);
    return former;
  }
  if (splitList(now).toSorted().join() === splitList(former).toSorted().join()) {
    env.problems.warn(`${FORMER} is the former name of ${FULL_ACCESS}, which says the same: remove it`);
  } else {
    env.problems.add(`${FULL_ACCESS} and ${FORMER}`, "differ", `${FULL_ACCESS} alone`);
  }
  return now;
}

/**
 * Warns about an entry that matches no server, or hardly.
 *
 * @param shown The entry as it may be shown.
 * @param name The server name that it is to match.
 */
export function warnIfItMatchesNobody(env: Environment, variable: VariableName, shown: string, name: string): void {
  const reason = reasonAgainst(name);
  if (reason !== null) env.problems.warn(`${variable} has "${shown}", which ${reason}`);
}

const AS_IN_USER_IDS = "write it as it stands in user IDs, example.com for @alice:example.com";
// A single label, and a name inside a Kubernetes cluster.
const HOST = /^(?!localhost\b)[\w-]+(:\d+)?$|\.svc(\.|:|$)/;

function reasonAgainst(entry: string): string | null {
  if (entry.includes("/")) return `is a URL or a path and matches nobody: ${AS_IN_USER_IDS}`;
  if (entry.startsWith("@")) return `is a user ID and matches nobody: ${AS_IN_USER_IDS}`;
  if (entry.includes("*")) return `is a pattern and matches nobody: ${AS_IN_USER_IDS}`;
  if (parseServerName(entry) === null) return `is no server name and matches nobody: ${AS_IN_USER_IDS}`;
  const lowerCase = entry.toLowerCase();
  if (entry !== lowerCase) {
    return `matches no server whose name is in lower case, as nearly all are: write "${lowerCase}"`;
  }
  return HOST.test(entry) ? `looks like a container or host, not like a server name: ${AS_IN_USER_IDS}` : null;
}
