// The kinds of values that variables hold, and how each kind is parsed.

import { type Network, parseNetwork } from "../net/ip_range.ts";
import type { Environment } from "./environment.ts";
import type { VariableName, VariableWithFallback } from "./variables.ts";

/** A whole number within bounds. */
export function parseInteger(env: Environment, name: VariableWithFallback, min: number, max: number): number {
  const text = env.get(name);
  const value = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (!(value >= min && value <= max)) env.problems.add(name, `is "${text}"`, `a whole number from ${min} to ${max}`);
  return value;
}

/** `true` or `false`, and the usual other spellings. */
export function parseBoolean(env: Environment, name: VariableWithFallback): boolean {
  const text = env.get(name);
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  if (!/^(false|0|no|off)$/i.test(text)) env.problems.add(name, `is "${text}"`, "true or false");
  return false;
}

/** One of a few words, in whatever case. */
export function parseChoice<Choice extends string>(
  env: Environment,
  name: VariableWithFallback,
  choices: readonly [Choice, ...Choice[]],
): Choice {
  const text = env.get(name);
  const choice = choices.find((known) => known === text.toLowerCase());
  if (choice === undefined) env.problems.add(name, `is "${text}"`, choices.join(" or "));
  return choice ?? choices[0];
}

/** Networks in CIDR form. */
export function parseNetworks(env: Environment, name: VariableName): Network[] {
  return splitList(env.get(name) ?? "").flatMap((entry) => {
    const network = parseNetwork(entry);
    if (network === null) env.problems.add(name, `has "${entry}"`, "networks such as 10.0.0.0/8 or fd00::/8");
    return network === null ? [] : [network];
  });
}

/** The entries of a list, by commas or spaces. */
export function splitList(text: string): string[] {
  return text.split(/[,\s]+/).filter((entry) => entry !== "");
}
