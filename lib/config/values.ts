// The kinds of values that variables hold: where they are read, how each kind is parsed, and where problems gather.

import { type Network, parseNetwork } from "../net/ip_range.ts";
import { parseServerName } from "../matrix/server_name.ts";

/** Collects what is wrong (the service does not start) and what looks wrong (it does). */
export class Problems {
  readonly found: string[] = [];
  readonly warnings: string[] = [];

  /** @param what What was found, secrets left out: `is "x"`. */
  add(variable: string, what: string, expected: string): void {
    this.found.push(`${variable} ${what}, expected ${expected}`);
  }

  warn(text: string): void {
    this.warnings.push(text);
  }
}

/** Reads variables, an empty one as unset, and the files that variables name. */
export class Environment {
  readonly #variables: Readonly<Record<string, string | undefined>>;
  readonly #readTextFile: (path: string) => string;
  readonly #problems: Problems;

  constructor(
    variables: Readonly<Record<string, string | undefined>>,
    readTextFile: (path: string) => string,
    problems: Problems,
  ) {
    this.#variables = variables;
    this.#readTextFile = readTextFile;
    this.#problems = problems;
    for (const [name, value] of Object.entries(variables)) {
      if (name.startsWith("LIVEKIT_") && value !== undefined && /^(["']).*\1$/.test(value)) {
        problems.warn(`${name} begins and ends with a quote, which is part of its value: remove both in the env file`);
      }
    }
  }

  get(name: string): string | undefined {
    const value = this.#variables[name];
    return value === "" ? undefined : value;
  }

  /** Text of the file that a variable names, trimmed; undefined when the variable is unset or the file unreadable. */
  readFileOf(name: string): string | undefined {
    const path = this.get(name);
    if (path === undefined) return undefined;
    try {
      return this.#readTextFile(path).trim();
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      this.#problems.add(name, `names "${path}", which cannot be read (${cause})`, "a readable file");
      return undefined;
    }
  }
}

/** A whole number within bounds. */
export function parseInteger(
  env: Environment,
  name: string,
  problems: Problems,
  fallback: number,
  min: number,
  max: number,
): number {
  const text = env.get(name);
  if (text === undefined) return fallback;
  const value = /^\d{1,9}$/.test(text.trim()) ? Number(text) : NaN;
  if (value >= min && value <= max) return value;
  problems.add(name, `is "${text}"`, `a whole number from ${min} to ${max}`);
  return fallback;
}

/** `true` or `false`, and the usual other spellings. */
export function parseBoolean(env: Environment, name: string, problems: Problems, fallback: boolean): boolean {
  const text = env.get(name);
  if (text === undefined) return fallback;
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  if (/^(false|0|no|off)$/i.test(text)) return false;
  problems.add(name, `is "${text}"`, "true or false");
  return fallback;
}

/** One of a few words, in whatever case. */
export function parseChoice<Choice extends string>(
  env: Environment,
  name: string,
  problems: Problems,
  choices: readonly Choice[],
  fallback: Choice,
): Choice {
  const text = env.get(name);
  if (text === undefined) return fallback;
  const choice = choices.find((known) => known === text.toLowerCase());
  if (choice === undefined) problems.add(name, `is "${text}"`, choices.join(" or "));
  return choice ?? fallback;
}

/** The list of full-access servers; `*` counts only when it stands alone. */
export function parseHomeservers(env: Environment, name: string, problems: Problems): "*" | ReadonlySet<string> {
  const entries = splitList(env.get(name) ?? "*");
  if (entries.length === 0) problems.warn(`${name} names no server: nobody has full access, so no room can be created`);
  if (entries.length === 1 && entries[0] === "*") {
    const found = env.get(name) === undefined ? "is not set" : 'is "*"';
    problems.warn(
      `${name} ${found}: users of every homeserver may create rooms here. List your own servers, separated by commas`,
    );
    return "*";
  }
  if (entries.includes("*")) {
    problems.warn(`${name} has "*" beside other names: it is ignored, since only alone it counts`);
  }
  const names = entries.filter((entry) => entry !== "*");
  for (const entry of names) {
    if (entry.includes("://")) {
      problems.warn(
        `${name} has "${entry}": write the server name alone (as in @user:example.com), it matches nobody so`,
      );
    } else if (parseServerName(entry) === null) {
      problems.warn(`${name} has "${entry}", which is no server name and matches nobody`);
    }
  }
  return new Set(names);
}

/** `server=url` pairs. A value without scheme means https. */
export function parseUrlMap(env: Environment, name: string, problems: Problems): ReadonlyMap<string, URL> {
  const urls = new Map<string, URL>();
  for (const entry of splitList(env.get(name) ?? "")) {
    const equals = entry.indexOf("=");
    const server = entry.slice(0, equals);
    const value = entry.slice(equals + 1);
    if (equals < 1 || value === "") {
      problems.add(name, `has "${withoutCredentials(entry)}"`, "entries of the form server=https://host");
      continue;
    }
    const text = value.includes("://") ? value : `https://${value}`;
    if (text !== value) problems.warn(`${name} has "${value}" for ${server} without a scheme: https:// is assumed`);
    if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
      problems.add(name, `has "${withoutCredentials(value)}" for ${server}`, "an http or https URL");
      continue;
    }
    if (parseServerName(server) === null) problems.warn(`${name} has "${server}", which is no server name`);
    urls.set(server, new URL(text));
  }
  return urls;
}

/** Networks in CIDR form. */
export function parseNetworks(env: Environment, name: string, problems: Problems): Network[] {
  return splitList(env.get(name) ?? "").flatMap((entry) => {
    const network = parseNetwork(entry);
    if (network === null) problems.add(name, `has "${entry}"`, "networks such as 10.0.0.0/8 or fd00::/8");
    return network === null ? [] : [network];
  });
}

/** The entries of a list, by commas or spaces. */
export function splitList(text: string): string[] {
  return text.split(/[,\s]+/).filter((entry) => entry !== "");
}

/** A URL, or what was meant as one, without the user and password that it may hold. */
export function withoutCredentials(text: string): string {
  return text.replace(/\/\/[^/]*@/, "//");
}
