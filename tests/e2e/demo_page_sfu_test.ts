// `deno task demo` with a real SFU in its environment: pages join it with LiveKit's own client and see each other.

import assert from "node:assert/strict";
import type { Browser, Locator } from "playwright-core";
import { launchBrowser, Visitor } from "./demo_page.ts";
import { type LiveKit, startLiveKit } from "./stack/livekit.ts";
import { BackgroundProcess } from "../../testing/child_process.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const KEY = { apiKey: "demo", apiSecret: "the demo's secret of 32 characters and more" };

let scene: { browser: Browser; sfu: LiveKit; demo: BackgroundProcess; folder: string; url: string } | undefined;

Deno.test.beforeAll(async () => {
  const browser = await launchBrowser();
  const sfu = await startLiveKit(KEY);
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-demo-" });
  const demo = new BackgroundProcess({
    name: "the demo",
    program: Deno.execPath(),
    args: ["run", "-A", "--no-prompt", "demo/main.ts"],
    logFile: `${folder}/demo.log`,
    cwd: ROOT,
    env: { LIVEKIT_URL: sfu.url, LIVEKIT_KEY: KEY.apiKey, LIVEKIT_SECRET: KEY.apiSecret, NO_COLOR: "1" },
  });
  const pageUrl = () => demo.output(200).match(/^ +(http:\/\/127\.0\.0\.1:\d+\/)$/m)?.[1];
  await demo.untilReady(() => Promise.resolve(pageUrl() !== undefined), 60_000);
  scene = { browser, sfu, demo, folder, url: pageUrl() ?? "" };
});

Deno.test.afterAll(async () => {
  if (scene === undefined) return;
  await scene.browser.close();
  assert.equal(await scene.demo.stop({ graceMs: 15_000 }), 0, "SIGTERM ends the demo cleanly");
  await scene.sfu[Symbol.asyncDispose]();
  await Deno.remove(scene.folder, { recursive: true });
});

function visit(): Promise<Visitor> {
  assert.ok(scene);
  return Visitor.visit(scene.browser, scene.url);
}

function participants({ page }: Visitor): Locator {
  return page.locator("#participants > li");
}

async function untilSeen(visitor: Visitor, count: number): Promise<string[]> {
  await participants(visitor).nth(count - 1).waitFor();
  await participants(visitor).nth(count).waitFor({ state: "detached" });
  return (await participants(visitor).allTextContents()).map((text) => text.replace(/:PAGE\w+/, "")).sort();
}

Deno.test("the scenes in the terminal come out right on a real SFU", () => {
  assert.ok(scene);
  const output = scene.demo.output(200);
  assert.match(output, /^All four came out right\.$/m);
  assert.doesNotMatch(output, /eyJ/);
});

Deno.test("Alice and Bob see each other on two pages, and see each other leave", async () => {
  await using alice = await visit();
  await using bob = await visit();
  await alice.ask("Alice", "!two:localhost");
  const [first] = await untilSeen(alice, 1);
  assert.match(first ?? "", /^@alice:localhost:\d+ \(this page\)$/);
  await bob.ask("Bob", "!two:localhost");

  const seenByBob = await untilSeen(bob, 2);
  assert.match(seenByBob.join(), /^@alice:localhost:\d+,@bob:127\.0\.0\.1:\d+ \(this page\)$/);
  const seenByAlice = await untilSeen(alice, 2);
  assert.match(seenByAlice.join(), /^@alice:localhost:\d+ \(this page\),@bob:127\.0\.0\.1:\d+$/);

  const alias = await alice.page.locator("#grant dd").nth(1).textContent() ?? "";
  const identities = await scene?.sfu.identities(alias) ?? [];
  assert.equal(identities.length, 2);
  assert.match(identities.join(), /^@alice:.*:PAGE\w+,@bob:.*:PAGE\w+$/);

  await bob.page.getByRole("button", { name: "Leave" }).press("Enter");
  assert.match((await untilSeen(alice, 1)).join(), /^@alice/);
  await participants(bob).first().waitFor({ state: "detached" });
  assert.equal(await bob.page.locator("#call-state").textContent(), "Not in a call.");
  assert.equal(await bob.page.getByRole("button", { name: "Leave" }).isVisible(), false);
  assert.equal(await bob.page.locator("#call-state").evaluate((element) => element.matches(":focus")), true);
  assert.deepEqual(alice.complaints, []);
});

Deno.test("one user on two pages is there twice", async () => {
  await using one = await visit();
  await using other = await visit();
  await one.ask("Alice", "!twice:localhost");
  await untilSeen(one, 1);
  await other.ask("Alice", "!twice:localhost");
  assert.equal((await untilSeen(other, 2)).length, 2);
  assert.equal((await untilSeen(one, 2)).length, 2);
});

Deno.test("another room is joined instead of the first, and an impostor's refusal ends the call", async () => {
  await using alice = await visit();
  await alice.ask("Alice", "!first:localhost");
  await untilSeen(alice, 1);
  const first = await alice.page.locator("#grant dd").nth(1).textContent() ?? "";
  await alice.ask("Alice", "!second:localhost");
  await untilSeen(alice, 1);
  const second = await alice.page.locator("#grant dd").nth(1).textContent() ?? "";
  assert.notEqual(first, second);
  assert.deepEqual(await scene?.sfu.identities(first), []);
  assert.equal((await scene?.sfu.identities(second))?.length, 1);

  await alice.ask("impostor", "!second:localhost");
  await participants(alice).first().waitFor({ state: "detached" });
  assert.deepEqual(await scene?.sfu.identities(second), []);
});

Deno.test("Bob, alone, is told that the SFU does not let him in", async () => {
  await using bob = await visit();
  await bob.ask("Bob", "!alone:localhost");
  const { kind, text } = await bob.verdict();
  assert.equal(kind, "waits");
  assert.match(text ?? "", /requested room does not exist$/);
  await bob.page.locator("#call-state", { hasText: "Cannot join" }).waitFor();
  assert.equal(await participants(bob).count(), 0);
});

Deno.test("a participant that the SFU throws out is told so", async () => {
  await using alice = await visit();
  await alice.ask("Alice", "!out:localhost");
  await untilSeen(alice, 1);
  const alias = await alice.page.locator("#grant dd").nth(1).textContent() ?? "";
  const [identity = ""] = await scene?.sfu.identities(alias) ?? [];
  await scene?.sfu.removeParticipant(alias, identity);
  await alice.page.locator("#call-state", { hasText: "Out of the call: PARTICIPANT_REMOVED" }).waitFor();
  assert.equal(await participants(alice).count(), 0);
});
