// Settings that are URLs. No text about one shows the user and password that it may hold.

import { PROXY_PROTOCOLS, type ProxyVariables } from "../net/proxies.ts";
import type { Environment } from "./environment.ts";
import { splitList } from "./values.ts";
import type { VariableName } from "./variables.ts";

/** A URL, or what was meant as one, without all that stands before an `@`, its scheme aside. */
export function withoutUserInfo(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, "$1");
}

/** An entry of a list of URLs or names: a password with a comma or a blank is torn into entries, of which some have no `@`. */
export function entryWithoutUserInfo(list: string, entry: string): string {
  return list.includes("@") && !entry.includes("@") ? "…" : withoutUserInfo(entry);
}

const EXAMPLE = "a URL such as wss://sfu.example.com";
const NEVER_IN_A_URL = /[\s\p{Cc}"<>\\^`{|}]/u;

/** The URL of `LIVEKIT_URL`, which clients get byte for byte. */
export function readLivekitUrl(env: Environment): string {
  const text = env.get("LIVEKIT_URL");
  if (text === undefined) env.problems.add("LIVEKIT_URL", "is not set", "the wss:// URL of the SFU");
  else if (env.given("LIVEKIT_INTERNAL_URL") !== undefined) refuseStrangeCharacters(env, "LIVEKIT_URL", text);
  return text ?? "";
}

/** Base of the SFU's API, `http:` or `https:`; null when there is a problem. */
export function readSfuApiUrl(env: Environment): URL | null {
  const name = env.given("LIVEKIT_INTERNAL_URL") === undefined ? "LIVEKIT_URL" : "LIVEKIT_INTERNAL_URL";
  const text = env.get(name);
  if (text === undefined || refuseStrangeCharacters(env, name, text)) return null;
  const shown = withoutUserInfo(text);
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `wss://${text}`;
  // Clients get a strange scheme as it is, and may know better; the service's own calls need one to go by.
  const isUsual = /^(ws|http)s?:/i.test(withScheme);
  const apiUrl = isUsual ? withScheme.replace(/^ws/i, "http") : withScheme.replace(/^[^:]+/, "https");
  if (!URL.canParse(apiUrl)) {
    env.problems.add(name, `is "${shown}"`, EXAMPLE);
    return null;
  }
  if (withScheme !== text) {
    env.problems.warn(`${name} "${shown}" has no scheme: wss:// is assumed for calls to the SFU`);
  }
  if (!isUsual) {
    env.problems.warn(`${name} is "${shown}", expected a ws, wss, http or https URL: calls to the SFU use https`);
  }
  const url = new URL(apiUrl);
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    env.problems.warn(`${name} has a user, a query or a fragment, which calls to the SFU leave out`);
    url.username = "";
    url.password = "";
    url.search = "";
    url.hash = "";
  }
  return url;
}

function refuseStrangeCharacters(env: Environment, name: VariableName, text: string): boolean {
  const isStrange = NEVER_IN_A_URL.test(text);
  if (isStrange) env.problems.add(name, `is ${JSON.stringify(withoutUserInfo(text))}`, EXAMPLE);
  return isStrange;
}

/** `server=url` pairs. A value without scheme means https. */
export function readUrlMap(env: Environment, name: VariableName): ReadonlyMap<string, URL> {
  const list = env.get(name) ?? "";
  const show = (text: string) => entryWithoutUserInfo(list, text);
  const urls = new Map<string, URL>();
  for (const entry of splitList(list)) {
    const equals = entry.indexOf("=");
    const server = entry.slice(0, equals);
    const value = entry.slice(equals + 1);
    if (equals < 1 || value === "") {
      env.problems.add(name, `has "${show(entry)}"`, "entries of the form server=https://host");
      continue;
    }
    const text = value.includes("://") ? value : `https://${value}`;
    if (text !== value) {
      env.problems.warn(`${name} has "${show(value)}" for ${server} without a scheme: https:// is assumed`);
    }
    if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
      env.problems.add(name, `has "${show(value)}" for ${server}`, "an http or https URL");
      continue;
    }
    urls.set(server, new URL(text));
  }
  return urls;
}

/** The proxies for outbound requests. */
export function readProxies(env: Environment): ProxyVariables {
  const proxies: Record<string, string> = {};
  for (const name of ["HTTP_PROXY", "HTTPS_PROXY"] as const) {
    const value = env.get(name);
    if (value === undefined) continue;
    const url = value.includes("://") ? value : `http://${value}`;
    if (!URL.canParse(url) || !PROXY_PROTOCOLS.includes(new URL(url).protocol)) {
      // Going around a proxy that was asked for could be worse than not starting.
      const expected = `a URL that begins with ${PROXY_PROTOCOLS.map((protocol) => `${protocol}//`).join(", ")}`;
      env.problems.add(name, "is no proxy that can be used (value not shown)", expected);
    }
    proxies[name] = url;
  }
  const exceptions = env.get("NO_PROXY");
  return exceptions === undefined ? proxies : { ...proxies, NO_PROXY: exceptions };
}
