// Log lines: one record is one line, whatever a client puts into it, as text and as JSON.

import assert from "node:assert/strict";
import fc from "fast-check";
import { closeLog, formatText, type LogFields, type LogFormat, type LogLevel, openLog } from "../../lib/log/log.ts";
import { holdsOnlyFor } from "../../testing/refutable.ts";
import { anyText } from "../../testing/texts.ts";

/** Opens a log, lets a test write to it, and gives what was written. */
function written(level: LogLevel, format: LogFormat, write: (log: ReturnType<typeof openLog>) => void): string {
  let text = "";
  let isFlushed = false;
  const writer = {
    write: (line: string) => void (text += line),
    flush: () => void (isFlushed = true),
  };
  const log = openLog({ level, format, writer });
  try {
    write(log);
  } finally {
    closeLog({ writer });
  }
  assert.ok(isFlushed);
  return text;
}

function line(message: string, fields: LogFields = {}): string {
  return written("info", "text", (log) => log.info(message, fields));
}

Deno.test("a text line holds time, level, message and fields", () => {
  const text = line("Granted", { user: "@alice:example.com", n: 7, ok: true, none: null, list: ["a", "b c"] });
  assert.match(
    text,
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO {4}Granted user=@alice:example\.com n=7 ok=true none=null list=\["a","b c"\]\n$/,
  );
});

const VALUES: [value: unknown, shown: string][] = [
  ["plain", "plain"],
  ["", '""'],
  ["two words", '"two words"'],
  ['a"b', '"a\\"b"'],
  ["a=b", '"a=b"'],
  ["a\nb", '"a\\nb"'],
  ["a\r\nb", '"a\\r\\nb"'],
  ["a\u001b[31mb", '"a\\u001b[31mb"'],
  ["a\u007fb", '"a\\u007fb"'],
  ["a\u0085b", '"a\\u0085b"'],
  ["a\u2028b", '"a\\u2028b"'],
  ["a\u202eb", '"a\\u202eb"'],
  ["jürgen", '"jürgen"'],
  [undefined, "undefined"],
  [{ a: "b\nc" }, '{"a":"b\\nc"}'],
  [["x\u2029"], '["x\\u2029"]'],
];

for (const [value, shown] of VALUES) {
  Deno.test(`the value ${JSON.stringify(value)} is shown as ${JSON.stringify(shown)}`, () => {
    assert.ok(line("m", { value }).endsWith(` m value=${shown}\n`), JSON.stringify(line("m", { value })));
  });
}

Deno.test("braces in a message stay as they are", () => {
  assert.match(
    line('LIVEKIT_URL is "wss://{reason}", {{x}}', { reason: "x" }),
    / LIVEKIT_URL is "wss:\/\/\{reason\}", \{\{x\}\} reason=x\n$/,
  );
});

Deno.test("levels below the chosen one are not written", () => {
  const speak = (log: ReturnType<typeof openLog>) => {
    log.debug("d");
    log.info("i");
    log.warning("w");
    log.error("e");
  };
  const levels = (text: string) => text.split("\n").filter(Boolean).map((line) => line.split(" ")[1]);
  assert.deepEqual(levels(written("debug", "text", speak)), ["DEBUG", "INFO", "WARNING", "ERROR"]);
  assert.deepEqual(levels(written("warning", "text", speak)), ["WARNING", "ERROR"]);
  assert.deepEqual(levels(written("error", "text", speak)), ["ERROR"]);
});

Deno.test("a JSON line is one object with message, level and the fields", () => {
  const text = written(
    "info",
    "json",
    (log) => log.warning("Refused\nby {reason}", { user: "a\nb", n: 1, reason: "x" }),
  );
  assert.equal(text.split("\n").length, 2);
  const record = JSON.parse(text);
  assert.equal(record.user, "a\nb");
  assert.equal(record.n, 1);
  assert.match(record.level, /^WARN/);
  assert.equal(record.message, "Refused\nby {reason}");
  assert.ok(record["@timestamp"] !== undefined || record.timestamp !== undefined);
});

type Format = typeof formatText;

Deno.test("nobody can forge a line: a record is one line, and its fields are where they should be", async () => {
  const troublesome = fc.string({
    unit: fc.oneof(
      fc.constantFrom(...'\n\r\t\0 ="\\{}', "\u007f", "\u0085", "\u009b", "\u2028", "\u2029", "\u202e", "\u2066", "é"),
      anyText({ minLength: 1, maxLength: 1 }),
    ),
    maxLength: 20,
  });
  const record = (message: string, value: unknown) => ({
    category: ["lk-jwt-service"],
    level: "info" as const,
    message: [message],
    rawMessage: message,
    timestamp: 0,
    properties: { value, last: "end" },
  });
  const isOneLine = (format: Format) =>
    fc.property(troublesome, fc.oneof(troublesome, fc.array(troublesome), fc.dictionary(troublesome, troublesome)), (
      message,
      value,
    ) => {
      const text = String(format(record(message, value)));
      assert.ok(text.endsWith(" last=end\n"));
      assert.ok(!/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u.test(text.slice(0, -1)), JSON.stringify(text));
    });
  const naive = (show: (value: unknown) => string): Format => (record) =>
    `${record.message.join("")} value=${show(record.properties["value"])} last=end\n`;

  await holdsOnlyFor<Format>(isOneLine, formatText, {
    "values as they are": naive(String),
    "values as JSON, the rest as it is": naive((value) => JSON.stringify(value)),
    "line feeds alone escaped": (record) => `${String(formatText(record)).replaceAll("\\r", "\r")}`,
  });
});
