// The rows of the service's contract: which answer is which, so that a campaign can say how often it met each.

interface Row {
  readonly name: string;
  readonly status: number;
  readonly errcode: string;
  /** Part of the text, where status and code alone do not tell. */
  readonly text?: RegExp;
}

const ROWS: readonly Row[] = [
  { name: "not JSON, or a field of the wrong type", status: 400, errcode: "M_NOT_JSON" },
  {
    name: "only one delay field, or a timeout of 0 or less",
    status: 400,
    errcode: "M_BAD_JSON",
    text: /`delay_id` or `delay_timeout`/,
  },
  { name: "required field missing or empty", status: 400, errcode: "M_BAD_JSON", text: /[Mm]issing/ },
  {
    name: "delegation asked by a restricted user",
    status: 400,
    errcode: "M_BAD_JSON",
    text: /only supported for full/,
  },
  {
    name: "delegation asked by a restricted user",
    status: 403,
    errcode: "M_FORBIDDEN",
    text: /only supported for full/,
  },
  { name: "client-server API not resolvable", status: 400, errcode: "M_BAD_JSON", text: /resolve client-server API/ },
  { name: "delegation switched off", status: 400, errcode: "M_BAD_JSON", text: /switched off/ },
  { name: "identity over 256 bytes", status: 400, errcode: "M_BAD_JSON", text: /over 256 bytes/ },
  { name: "text over its bound", status: 400, errcode: "M_BAD_JSON", text: /is over \d+ bytes$/ },
  { name: "device ID like a port", status: 400, errcode: "M_BAD_JSON", text: /begins with digits and a colon/ },
  { name: "delay_id that would climb", status: 400, errcode: "M_BAD_JSON", text: /is no ID/ },
  { name: "not authorised", status: 401, errcode: "M_UNAUTHORIZED" },
  { name: "server not allowed", status: 403, errcode: "M_FORBIDDEN", text: /not served here/ },
  { name: "no such route", status: 404, errcode: "M_UNRECOGNIZED" },
  { name: "wrong method", status: 405, errcode: "M_UNRECOGNIZED" },
  { name: "body over the cap", status: 413, errcode: "M_TOO_LARGE" },
  { name: "URL over the cap", status: 414, errcode: "M_UNRECOGNIZED" },
  { name: "rate limit", status: 429, errcode: "M_LIMIT_EXCEEDED" },
  { name: "CreateRoom failed", status: 500, errcode: "M_UNKNOWN", text: /^Unable to create room on SFU$/ },
  { name: "over capacity", status: 503, errcode: "M_UNKNOWN", text: /busy/ },
  { name: "shutting down", status: 503, errcode: "M_UNKNOWN", text: /shutting down/ },
];

/**
 * The row of an error.
 *
 * @throws For an answer that is on no row.
 */
export function rowOf(status: number, errcode: string, error: string): string {
  const row = ROWS.find((row) => row.status === status && row.errcode === errcode && (row.text?.test(error) ?? true));
  if (row === undefined) throw new Error(`${status} ${errcode} "${error}" is on no row of the contract`);
  return `${status} ${errcode}, ${row.name}`;
}
