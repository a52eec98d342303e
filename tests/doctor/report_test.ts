// What the doctor prints, and what it makes of its arguments.

import assert from "node:assert/strict";
import { error, ok, skipped, warning, worstOf } from "../../lib/doctor/check.ts";
import { parseDoctorArguments } from "../../lib/doctor/doctor.ts";
import { pasteBlocks } from "../../lib/doctor/paste_blocks.ts";
import { jsonReport, textReport } from "../../lib/doctor/report.ts";

const SFU = { id: "sfu.api", title: "LiveKit answers", asked: "POST https://sfu.example.com" };
const BLOCKS = pasteBlocks({
  serverName: "example.com",
  baseUrl: null,
  publicUrl: "https://rtc.example.com/livekit/jwt",
  apiKey: "devkey",
  ownUrl: "http://127.0.0.1:8080",
});

Deno.test("the JSON report is one document with version, outcome and checks", () => {
  const checks = [ok(SFU, "status 200"), warning(SFU, "slow", "Wait")];
  assert.deepEqual(JSON.parse(jsonReport("1.2.3", checks)), { version: "1.2.3", outcome: "warning", checks });
});

Deno.test("the outcome is the worst one, and what was skipped does not count", () => {
  assert.equal(worstOf([skipped(SFU, ""), ok(SFU, "")]), "ok");
  assert.equal(worstOf([ok(SFU, ""), warning(SFU, "", "")]), "warning");
  assert.equal(worstOf([error(SFU, "", ""), warning(SFU, "", "")]), "error");
});

Deno.test("a finding is shown with what was asked, what came back and the fix, and the blocks to paste follow", () => {
  const text = textReport([error(SFU, "status 401", "Use the right key")], BLOCKS, false);
  for (const part of ["ERROR", "POST https://sfu.example.com", "status 401", "Use the right key", "rtc_foci"]) {
    assert.ok(text.includes(part), part);
  }
  assert.ok(!text.includes("\x1b"));
});

Deno.test("nothing is to be pasted where nothing is wrong", () => {
  assert.ok(!textReport([ok(SFU, "status 200")], BLOCKS, false).includes("paste"));
});

Deno.test("what a server wrote can't steer the terminal", () => {
  const text = textReport([error(SFU, "\x1b[2Jgone\r\nfake", "Fix")], BLOCKS, false);
  assert.ok(!text.includes("\x1b") && !text.includes("\r"));
});

Deno.test("the blocks have the prefix and the names of this set-up", () => {
  const text = BLOCKS.map((block) => block.text).join("\n");
  assert.ok(text.includes('"livekit_service_url": "https://rtc.example.com/livekit/jwt"'));
  assert.ok(text.includes("location /livekit/jwt/ {"));
  assert.ok(text.includes("auto_create: false"));
  assert.ok(text.includes('urls: ["http://127.0.0.1:8080/sfu_webhook"]'));
});

Deno.test("the arguments of the doctor are understood, with = or without", () => {
  const expected = { serverNames: ["a.example", "b.example"], publicUrl: "https://rtc.example.com", json: true };
  const spaced = [
    "--server-name",
    "a.example",
    "--server-name",
    "b.example",
    "--public-url",
    "https://rtc.example.com",
  ];
  assert.deepEqual(parseDoctorArguments([...spaced, "--json"]), expected);
  const joined = [
    "--json",
    "--server-name=a.example",
    "--server-name=b.example",
    "--public-url=https://rtc.example.com",
  ];
  assert.deepEqual(parseDoctorArguments(joined), expected);
});

for (const args of [["--server-name"], ["--nonsense"], ["example.com"], ["--public-url="]]) {
  Deno.test(`misused: doctor ${args.join(" ")}`, () => {
    assert.equal(typeof parseDoctorArguments(args), "string");
  });
}
