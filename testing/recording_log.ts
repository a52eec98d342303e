// A log that keeps what it is told, for tests that ask what an operator would have read.

import type { Log, LogFields } from "../lib/log/log.ts";

/** One record, as it was given. */
export interface LogEntry {
  readonly level: "debug" | "info" | "warning" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

/** Keeps every record of every level. */
export class RecordingLog implements Log {
  readonly entries: LogEntry[] = [];

  debug(message: string, fields: LogFields = {}): void {
    this.entries.push({ level: "debug", message, fields });
  }

  info(message: string, fields: LogFields = {}): void {
    this.entries.push({ level: "info", message, fields });
  }

  warning(message: string, fields: LogFields = {}): void {
    this.entries.push({ level: "warning", message, fields });
  }

  error(message: string, fields: LogFields = {}): void {
    this.entries.push({ level: "error", message, fields });
  }

  /** The records of one level. */
  of(level: LogEntry["level"]): LogEntry[] {
    return this.entries.filter((entry) => entry.level === level);
  }

  /** What would be written if all of it came within a minute: of what is throttled the first per message and subject. */
  get written(): LogEntry[] {
    const seen = new Set<string>();
    return this.entries.filter(({ message, fields }) => {
      const key = `${message}\n${fields.throttle}`;
      return fields.throttle === undefined || seen.size < seen.add(key).size;
    });
  }

  /** Everything, as one text to search in. */
  get text(): string {
    return this.entries.map((entry) => JSON.stringify(entry)).join("\n");
  }
}
