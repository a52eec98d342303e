// Where settings are read: variables, an empty one as unset, and the files that variables name. Values are taken as they
// really arrive, with what editors, shells and env files leave around them.

import { errorText } from "../log/error_text.ts";
import { type Variable, type VariableName, VARIABLES, type VariableWithFallback } from "./variables.ts";

/** The environment as a plain object. */
export type EnvironmentVariables = Readonly<Record<string, string | undefined>>;

/** Reads a file as text; throws when it cannot. */
export type ReadTextFile = (path: string) => string;

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

const QUOTED = /^(["']).*\1$/s;
// What Kubernetes sets for a Service called "livekit-jwt" is no port of ours.
const SERVICE_LINK = /^(tcp|udp):\/\//;

/** Reads variables by the table, and the files that they name. */
export class Environment {
  readonly problems: Problems;
  readonly #values = new Map<string, string>();
  readonly #readTextFile: ReadTextFile;

  constructor(variables: EnvironmentVariables, readTextFile: ReadTextFile, problems: Problems = new Problems()) {
    this.problems = problems;
    this.#readTextFile = readTextFile;
    for (const variable of VARIABLES) this.#take(variable, variables);
  }

  /** Value of a variable, or what an unset one stands for. */
  get(name: VariableWithFallback): string;
  get(name: VariableName): string | undefined;
  get(name: VariableName): string | undefined {
    return this.given(name) ?? FALLBACKS.get(name);
  }

  /** Value of a variable that is set. */
  given(name: VariableName): string | undefined {
    return this.#values.get(name);
  }

  /** Text of the file that a variable names, trimmed; undefined when it is unset, or the file cannot be read as text. */
  readFileOf(name: VariableName): string | undefined {
    const path = this.given(name);
    if (path === undefined) return undefined;
    try {
      const text = this.#readTextFile(path);
      if (!/[\0\ufffd]/.test(text)) return text.trim();
      this.problems.add(name, `names "${path}", which is not UTF-8 text`, "a text file in UTF-8");
    } catch (error) {
      this.problems.add(name, `names "${path}", which cannot be read (${errorText(error)})`, "a readable file");
    }
    return undefined;
  }

  #take({ name, isSecret, isAlsoLowerCase }: Variable, variables: EnvironmentVariables): void {
    // The byte order mark of an env file stands before its first name.
    const named = variables[name] || variables[`\ufeff${name}`];
    const given = isAlsoLowerCase ? variables[name.toLowerCase()] || named : named;
    const value = given?.trim() ?? ""; // line ends of other systems, and byte order marks, go with the blanks
    if (value === "" || name.endsWith("_PORT") && SERVICE_LINK.test(value)) return;
    if (QUOTED.test(value) && isSecret !== true) {
      this.problems.warn(`${name} begins and ends with a quote: both are left out. Remove them in the env file`);
      if (value.length > 2) this.#values.set(name, value.slice(1, -1).trim());
      return;
    }
    // A secret may well have quotes of its own: only LiveKit's side could tell.
    if (QUOTED.test(value)) this.problems.add(name, "begins and ends with a quote", "the value alone");
    this.#values.set(name, value);
  }
}

const FALLBACKS: ReadonlyMap<string, string> = new Map(
  VARIABLES.flatMap(({ name, fallback }) => fallback === null ? [] : [[name, fallback]]),
);
