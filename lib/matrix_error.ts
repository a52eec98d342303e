// The one error that crosses layers: what a client gets, and the cause that only the log has.

/** Error codes that the service answers with. Source: Matrix client-server API, "Standard error response". */
export type ErrorCode =
  | "M_BAD_JSON"
  | "M_FORBIDDEN"
  | "M_LIMIT_EXCEEDED"
  | "M_NOT_JSON"
  | "M_TOO_LARGE"
  | "M_UNAUTHORIZED"
  | "M_UNKNOWN"
  | "M_UNRECOGNIZED";

/** More for the log record of the request. */
export interface ErrorDetails {
  /** In place of the message "Refused". */
  readonly summary?: string;
  /** Fields, such as `steps` and `advice`. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** What a {@link MatrixError} carries beside its text. */
export interface MatrixErrorOptions extends ErrorOptions {
  readonly details?: ErrorDetails;
  /** Whole seconds for the `Retry-After` header. */
  readonly retryAfterSeconds?: number;
  /** For `retry_after_ms`, and for the header. */
  readonly retryAfterMs?: number;
}

/** An answer that is an error. `message` is sent to the client word for word; `cause` and `details` are not. */
export class MatrixError extends Error {
  override name = "MatrixError";
  readonly details: ErrorDetails;
  readonly retryAfterSeconds: number | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(readonly status: number, readonly errcode: ErrorCode, message: string, options?: MatrixErrorOptions) {
    super(message, options);
    this.details = options?.details ?? {};
    this.retryAfterMs = options?.retryAfterMs;
    const ofMs = this.retryAfterMs === undefined ? undefined : Math.ceil(this.retryAfterMs / 1000);
    this.retryAfterSeconds = options?.retryAfterSeconds ?? ofMs;
  }
}

/** 401 in the one wording that names no cause. */
export function unauthorized(cause?: unknown, details: ErrorDetails = {}): MatrixError {
  return new MatrixError(401, "M_UNAUTHORIZED", "The request could not be authorised.", { cause, details });
}
