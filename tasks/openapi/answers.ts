// The answers of the service, as OpenAPI describes them: every status with its error codes, its texts and its headers.

import type { ErrorCode } from "../../lib/matrix_error.ts";
import type { Data } from "./yaml.ts";

/** The statuses of errors. */
export type ErrorStatus = 400 | 401 | 403 | 404 | 405 | 408 | 413 | 414 | 429 | 500 | 503;

interface ErrorAnswer {
  readonly description: string;
  /** Texts by error code, as clients get them. */
  readonly errors: Partial<Record<ErrorCode, Readonly<Record<string, string>>>>;
  readonly headers?: Readonly<Record<string, Data>>;
}

const RETRY_AFTER = {
  description: "Seconds to wait before the next try.",
  schema: { type: "string", pattern: "^[0-9]+$" },
};

/** Every error that the service answers with. */
export const ERRORS: Readonly<Record<ErrorStatus, ErrorAnswer>> = {
  400: {
    description:
      "The body is not what the route takes, or the delayed event cannot be taken charge of. Nothing was sent " +
      "to anybody for a body that is refused; Element Call repeats a request without the delay fields after " +
      "M_BAD_JSON, and only then.",
    errors: {
      M_NOT_JSON: { notJson: "Error reading request" },
      M_BAD_JSON: {
        noRoom: "Missing room parameter",
        noToken: "Missing OpenID token parameters",
        noRoomOrSlot: "The request body is missing `room_id` or `slot_id`",
        noMember: "The request body `member` is missing a `id`, `claimed_user_id` or `claimed_device_id`",
        noOpenIdToken: "The request body `openid_token` is missing a `access_token` or `matrix_server_name`",
        noDelay: "The request body is missing `delay_id` or `delay_timeout`",
        badDelayId: 'The `delay_id` ".." is no ID',
        longIdentity: "The participant identity is over 256 bytes: shorten the device ID",
        restrictedDelegation: "Delegation of delayed events is only supported for full access users",
        noClientApi: "Unable to resolve client-server API",
        delegationOff: "Delegation of delayed events is switched off",
        tooManyJobs: "Too many delayed events of this user are delegated already (20 at most)",
      },
    },
  },
  401: {
    description:
      "The homeserver did not vouch for the user, for whatever reason: a bad or expired token, a server that " +
      "cannot be found, reached or believed, a `matrix_server_name` that is no server name, a user of another server, or " +
      "one who is not `claimed_user_id`. The log has the reason; the client gets one text for all.",
    errors: { M_UNAUTHORIZED: { unauthorised: "The request could not be authorised." } },
  },
  403: {
    description: "The operator's lists refuse users of this homeserver (LIVEKIT_ALLOWED_HOMESERVERS, " +
      "LIVEKIT_BLOCKED_HOMESERVERS); at `/delegate_delayed_leave` also a delegation that is refused to this user.",
    errors: {
      M_FORBIDDEN: {
        notServed: "Users of this homeserver are not served here",
        restrictedDelegation: "Delegation of delayed events is only supported for full access users",
        tooManyJobs: "Too many delayed events of this user are delegated already (20 at most)",
      },
    },
  },
  404: {
    description:
      "No such route. `/delegate_delayed_leave` does not exist where LIVEKIT_DELEGATION is off, and no path " +
      "under `/_matrix/` does.",
    errors: { M_UNRECOGNIZED: { unrecognized: "Unrecognized request" } },
  },
  405: {
    description: "The route takes other methods.",
    errors: { M_UNRECOGNIZED: { method: "Method not allowed" } },
    headers: { Allow: { required: true, schema: { type: "string" } } },
  },
  408: {
    description: "The body did not arrive within the 10 s that a request has.",
    errors: { M_UNKNOWN: { slow: "The request body did not arrive in time" } },
  },
  413: {
    description: "The body is over 64 KiB.",
    errors: { M_TOO_LARGE: { tooLarge: "The request body is over 65536 bytes" } },
  },
  414: {
    description: "The URL is over 8192 characters.",
    errors: { M_UNRECOGNIZED: { longUrl: "The URL is too long" } },
  },
  429: {
    description: "The client has had its share of LIVEKIT_RATE_LIMIT. Off unless the operator sets it.",
    errors: { M_LIMIT_EXCEEDED: { limited: "Too many requests, try again later" } },
    headers: { "Retry-After": { required: true, ...RETRY_AFTER } },
  },
  500: {
    description:
      "The SFU did not create the room within the deadline, after a second try where one made sense. Any other " +
      "text with this status is a bug, and has an ID that the log has too.",
    errors: { M_UNKNOWN: { roomNotCreated: "Unable to create room on SFU" } },
  },
  503: {
    description: "Over capacity (with `Retry-After`), or about to stop.",
    errors: {
      M_UNKNOWN: {
        busy: "The service is busy, try again shortly",
        stopping: "The service is shutting down",
      },
    },
    headers: { "Retry-After": RETRY_AFTER },
  },
};

/** The headers that every answer carries, by the name they have in the document. */
export const HEADERS = {
  AllowOrigin: constant("*"),
  AllowPost: constant("POST"),
  AllowGet: constant("GET, HEAD"),
  AllowHeaders: constant("Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token"),
  ExposeHeaders: constant("Retry-After"),
  MaxAge: constant("86400"),
} as const;

function constant(value: string): Data {
  return { required: true, schema: { type: "string", const: value } };
}

/** The CORS headers of a route: its own methods, the rest as everywhere. */
export function corsHeaders(methods: "AllowPost" | "AllowGet" = "AllowPost"): Readonly<Record<string, Data>> {
  const header = (name: keyof typeof HEADERS) => ({ $ref: `#/components/headers/${name}` });
  return {
    "Access-Control-Allow-Origin": header("AllowOrigin"),
    "Access-Control-Allow-Methods": header(methods),
    "Access-Control-Allow-Headers": header("AllowHeaders"),
    "Access-Control-Expose-Headers": header("ExposeHeaders"),
    "Access-Control-Max-Age": header("MaxAge"),
  };
}

/** The answer of one status. `except` names texts that cannot happen at a route. */
export function errorResponse(
  status: ErrorStatus,
  except: readonly string[] = [],
  methods: "AllowPost" | "AllowGet" = "AllowPost",
): Data {
  const { description, errors, headers = {} } = ERRORS[status];
  const retry = status === 429 ? { retry_after_ms: 1500 } : {};
  const examples = Object.entries(errors).flatMap(([errcode, texts]) =>
    Object.entries(texts)
      .filter(([name]) => !except.includes(name))
      .map(([name, error]) => [name, { value: { errcode, error, ...retry } }])
  );
  const schema = errorSchema(Object.keys(errors), status === 429);
  return {
    description,
    headers: { ...corsHeaders(methods), ...headers },
    content: { "application/json": { schema, examples: Object.fromEntries(examples) } },
  };
}

function errorSchema(errcodes: readonly string[], isLimit: boolean): Data {
  return {
    type: "object",
    additionalProperties: false,
    required: ["errcode", "error", ...(isLimit ? ["retry_after_ms"] : [])],
    properties: {
      errcode: { type: "string", enum: errcodes },
      error: { type: "string", minLength: 1 },
      ...(isLimit ? { retry_after_ms: { type: "integer", minimum: 1 } } : {}),
    },
  };
}
