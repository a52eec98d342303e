// One request, one log record: what was asked, what came of it and why, gathered on the way.

import type { Clock } from "../async/clock.ts";
import { errorStack, errorText } from "../log/error_text.ts";
import type { Log, LogFields } from "../log/log.ts";
import { MatrixError } from "../matrix_error.ts";

/** One answered request, as it is counted. */
export interface AnsweredRequest {
  /** The route's path; "other" where there is none. */
  readonly route: string;
  readonly status: number;
  /** "" for what is no error. */
  readonly errcode: string;
  readonly durationMs: number;
}

/** What a record has from the start. */
export interface RequestRecordOptions {
  readonly id: string;
  /** The path of the route; null where no route matches. */
  readonly route: string | null;
  readonly method: string;
  readonly path: string;
  readonly clock: Pick<Clock, "monotonicNow">;
  readonly log: Log;
  readonly onAnswered: ((request: AnsweredRequest) => void) | undefined;
}

// Scanners ask for anything, all day; and who asks too often has a record of its own, once a minute.
const UNINTERESTING = new Set([404, 405, 414, 429]);

/** The record of one request. Written once, at its end. */
export class RequestRecord {
  readonly id: string;
  readonly #options: RequestRecordOptions;
  readonly #startedAt: number;
  readonly #fields: Record<string, unknown> = {};

  constructor(options: RequestRecordOptions) {
    this.id = options.id;
    this.#options = options;
    this.#startedAt = options.clock.monotonicNow();
  }

  /** Adds what is learnt on the way. */
  readonly note = (fields: LogFields): void => {
    Object.assign(this.#fields, fields);
  };

  /** Writes that it was answered as asked. */
  answered(message: string): void {
    this.#options.log.info(message, this.#record(200));
  }

  /**
   * Writes that it was refused, with the cause.
   *
   * @param isProbe Whether it asked for nothing but whether the route exists.
   */
  refused(error: MatrixError, isProbe: boolean): void {
    const { log, method, path, route } = this.#options;
    const { status, errcode, message, details } = error;
    const cause = error.cause === undefined ? message : errorText(error.cause);
    const unrouted = route === null ? { method, path } : {};
    const summary = details.summary ?? "Refused";
    const fields = { ...this.#record(status, errcode), ...unrouted, cause, ...details.fields };
    if (isProbe || UNINTERESTING.has(status)) log.debug(summary, fields);
    else if (status === 500) log.error(summary, fields);
    else if (status === 401) log.warning(summary, fields);
    else log.info(summary, fields);
  }

  /** Writes that the service itself is broken. */
  failed(error: unknown): void {
    const fields = { ...this.#record(500, "M_UNKNOWN"), stack: errorStack(error) };
    this.#options.log.error("Cannot answer a request: this is a bug", fields);
  }

  #record(status: number, errcode?: string): LogFields {
    const { route, clock, onAnswered } = this.#options;
    const durationMs = clock.monotonicNow() - this.#startedAt;
    onAnswered?.({ route: route ?? "other", status, errcode: errcode ?? "", durationMs });
    const record: Record<string, unknown> = {};
    if (route !== null) record.route = route;
    record.status = status;
    if (errcode !== undefined) record.errcode = errcode;
    record.duration_ms = Math.round(durationMs);
    Object.assign(record, this.#fields);
    record.request_id = this.id;
    return record;
  }
}
