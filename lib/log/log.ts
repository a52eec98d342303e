// Logging: a small interface that the service writes to, and its records, in the form of LogTape. Text for people, JSON
// lines for collectors; both are bounded, and repeats are throttled where the record says so.

import { getJsonLinesFormatter, type LogRecord, type TextFormatter } from "@logtape/logtape";
import { boundFields } from "./bounded_fields.ts";
import { createThrottle } from "./throttle.ts";

/** Levels that operators may choose. */
export const LOG_LEVELS = ["debug", "info", "warning", "error"] as const;
export type LogLevel = typeof LOG_LEVELS[number];

/** Forms of a log line. */
export const LOG_FORMATS = ["text", "json"] as const;
export type LogFormat = typeof LOG_FORMATS[number];

/** What is known about an event. Never a secret, a token, a URL's query or somebody else's body. */
export interface LogFields {
  /**
   * The subject (or true, where there is one alone) that a record is about which anybody can trigger: one a minute is
   * written per message and subject, with the number of those left out. Not written itself.
   */
  readonly throttle?: string | true;
  readonly [name: string]: unknown;
}

/** Where the service writes what happens. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warning(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** Takes finished lines; `flush` writes what is still held back. */
export interface LogWriter {
  write(line: string): void;
  flush(): void;
}

/** Options of {@link openLog}. */
export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly writer: LogWriter;
  /** A clock that never jumps, in ms. */
  readonly monotonicNow?: () => number;
}

const CATEGORY = ["lk-jwt-service"];

/** Sends all logging of the process to a writer. Records go to their formatter directly: one is written per exchange. */
export function openLog(options: LogOptions): Log {
  const { writer, monotonicNow = () => performance.now() } = options;
  const format = options.format === "json" ? getJsonLinesFormatter({ properties: "flatten" }) : formatText;
  const leftOutBefore = createThrottle(monotonicNow);
  const write = (level: LogLevel, message: string, fields: LogFields) => {
    const properties = boundFields(fields);
    if (fields.throttle !== undefined) {
      delete properties.throttle;
      const leftOut = leftOutBefore(message, String(fields.throttle));
      if (leftOut === null) return;
      if (leftOut > 0) properties.left_out = leftOut;
    }
    const record: LogRecord = {
      category: CATEGORY,
      level,
      message: [message],
      rawMessage: message,
      timestamp: Date.now(),
      properties,
    };
    writer.write(format(record));
  };
  const lowest = LOG_LEVELS.indexOf(options.level);
  const logAt = (level: LogLevel) => {
    if (LOG_LEVELS.indexOf(level) < lowest) return () => {};
    return (message: string, fields: LogFields = {}) => write(level, message, fields);
  };
  return { debug: logAt("debug"), info: logAt("info"), warning: logAt("warning"), error: logAt("error") };
}

/** Ends what {@link openLog} began. */
export function closeLog(options: Pick<LogOptions, "writer">): void {
  options.writer.flush();
}

/**
 * One line per record: time, level, message, then `key=value` pairs; a value that is not one plain word is quoted as
 * JSON, and what could break or reorder a line is escaped, so that no client can forge one.
 */
export const formatText: TextFormatter = (record) => {
  let pairs = "";
  for (const key in record.properties) pairs += ` ${key}=${formatValue(record.properties[key])}`;
  const time = new Date(record.timestamp).toISOString();
  const line = `${time} ${record.level.toUpperCase().padEnd(7)} ${record.message.join("")}${pairs}`;
  return `${PRINTABLE.test(line) ? line : line.replace(LINE_BREAKING, escapeCharacter)}\n`;
};

// Control characters (JSON leaves those from U+007F on as they are), line separators, changes of writing direction.
const LINE_BREAKING = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu;

const PRINTABLE = /^[\x20-\x7e]*$/;

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

const PLAIN = /^[\w.:@/+*!#$-]+$/;

function formatValue(value: unknown): string {
  if (typeof value === "string") return PLAIN.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? "undefined";
}
