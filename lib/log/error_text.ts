// The text of whatever was thrown.

/** Message of an error, else the value as text. Never a stack. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Stack of an error where it has one, for what can only be a bug. */
export function errorStack(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error);
}
