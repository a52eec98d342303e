// A value that must never be seen: API secrets, OpenID access tokens. Whatever prints it, prints "[redacted]".

const REDACTED = "[redacted]";

/** Holds a secret text. Only {@link Secret.reveal} gives it back; inspectors, JSON and string conversion do not. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The text itself: for the one place that sends or signs with it. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return REDACTED;
  }

  [Symbol.for("Deno.customInspect")](): string {
    return REDACTED;
  }
}
