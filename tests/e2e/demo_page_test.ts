// The demo's page with the SFU stand-in: every role, by mouse and by keyboard, light and dark, wide and narrow.

import assert from "node:assert/strict";
import type { Browser } from "playwright-core";
import * as v from "valibot";
import { servePage } from "../../demo/page.ts";
import { buildStage } from "../../demo/stage.ts";
import { launchBrowser, Visitor } from "./demo_page.ts";

type Visit = (options?: Parameters<typeof Visitor.visit>[2]) => Promise<Visitor>;

let browser: Browser | undefined;

Deno.test.beforeAll(async () => {
  browser = await launchBrowser();
});
Deno.test.afterAll(async () => {
  await browser?.close();
});

// A test with a demo of its own; its visitors leave by themselves.
function pageTest(name: string, body: (visit: Visit, host: string) => Promise<void>): void {
  Deno.test(name, async () => {
    await using stage = await buildStage();
    await using served = servePage(stage);
    await body(async (options = {}) => {
      assert.ok(browser);
      return await Visitor.visit(browser, served.url, options);
    }, new URL(served.url).host);
  });
}

pageTest("Alice, a local user, joins a room that the SFU stand-in then has", async (visit, host) => {
  await using visitor = await visit();
  await visitor.ask("Alice", "!alice:localhost");
  const { kind, text } = await visitor.verdict();
  assert.equal(kind, "joins");
  assert.match(text ?? "", /^@alice:localhost:\d+ joins, with full access$/);
  assert.equal(await visitor.step("The room on the SFU"), "Created by CreateRoom");
  const room = visitor.page.locator("#rooms > li", { hasText: "!alice:localhost" });
  assert.match(await room.textContent() ?? "", /@alice:localhost:\d+:DEMODEVICE/);
  const grant = await visitor.page.locator("#grant").textContent() ?? "";
  assert.match(grant, /join, publish, subscribe, update own metadata/);
  visitor.assertContent(host);
});

pageTest("Bob, a federated user, waits alone and joins once Alice has begun", async (visit, host) => {
  await using visitor = await visit();
  await visitor.ask("Bob", "!bob:localhost");
  assert.equal((await visitor.verdict()).kind, "waits");
  assert.equal(await visitor.page.locator("#rooms > li", { hasText: "!bob:localhost" }).count(), 0);

  const calls = await visitor.page.locator("#create-room-calls").textContent();
  await visitor.ask("Alice", "!bob:localhost");
  assert.equal(await visitor.page.locator("#create-room-calls").textContent(), String(Number(calls) + 1));
  await visitor.ask("Bob", "!bob:localhost");
  assert.match((await visitor.verdict()).text ?? "", /joins, with restricted access$/);
  assert.equal(await visitor.page.locator("#rooms > li", { hasText: "!bob:localhost" }).locator("li").count(), 2);
  visitor.assertContent(host);
});

pageTest("an impostor is refused, without a grant on the page, even after a scene with one", async (visit, host) => {
  await using visitor = await visit();
  await visitor.ask("Alice", "!stolen:localhost");
  assert.equal(await visitor.page.locator("#grant-section").isVisible(), true);
  await visitor.ask("impostor", "!stolen:localhost");
  const { kind, text } = await visitor.verdict();
  assert.equal(kind, "refused");
  assert.match(text ?? "", /^Refused: 127\.0\.0\.1:\d+ cannot vouch for @alice:localhost:\d+$/);
  assert.equal(await visitor.page.locator("#grant-section").isVisible(), false);
  assert.equal(await visitor.step("The room on the SFU"), "Not touched");
  assert.match(await visitor.step("The answer: 401") ?? "", /^M_UNAUTHORIZED/);
  visitor.assertContent(host);
});

pageTest("Alice’s phone dies, and she is out of the call", async (visit, host) => {
  await using visitor = await visit();
  const { page } = visitor;
  await page.getByLabel("Which Matrix room?").fill("!phone:localhost");
  await page.getByRole("button", { name: "Alice’s phone dies" }).click();
  await page.locator("#verdict[data-kind=left]").waitFor();
  assert.match((await visitor.verdict()).text ?? "", /is out of the call, \d+ ms after/);
  assert.equal(await visitor.step("What comes of it"), "The service has the homeserver send it at once");
  assert.match(
    await page.locator("#rooms > li", { hasText: "!phone:localhost" }).textContent() ?? "",
    /Nobody is there/,
  );
  visitor.assertContent(host);
});

pageTest("a room that is refused clears the verdict on the one before it", async (visit) => {
  await using visitor = await visit();
  await visitor.ask("Alice", "!before:localhost");
  await visitor.ask("Alice", "nonsense");
  assert.deepEqual(await visitor.verdict(), { kind: "none", text: "Nobody has asked yet." });
  assert.equal(await visitor.page.locator("#told").isVisible(), false);
});

pageTest("all of it works by keyboard alone, and the focus is always seen", async (visit, host) => {
  await using visitor = await visit();
  const { keyboard } = visitor.page;
  const seen: string[] = [];
  const look = async (): Promise<void> => {
    seen.push(v.parse(v.string(), await visitor.page.evaluate(FOCUS)));
  };

  await keyboard.press("Tab");
  await look();
  await keyboard.press("ArrowDown");
  await look();
  await keyboard.press("Tab");
  await look();
  await keyboard.press("ControlOrMeta+A");
  await keyboard.type("!keys:localhost");
  await keyboard.press("Enter");
  await visitor.page.locator("#verdict[data-kind=waits]").waitFor();
  await keyboard.press("Tab");
  await look();
  await keyboard.press("Tab");
  await look();
  await keyboard.press("Space"); // a new room, and the focus where its name is
  await look();
  assert.match(await visitor.page.getByLabel("Which Matrix room?").inputValue(), /^![a-z]{8}:localhost:\d+$/);
  await keyboard.press("Shift+Tab");
  await keyboard.press("ArrowUp");
  await keyboard.press("Enter");
  await visitor.page.locator("#verdict[data-kind=joins]").waitFor();
  for (let i = 0; i < 5; i++) await keyboard.press("Tab");
  await look();
  await keyboard.press("Enter");
  await visitor.page.locator("#payload").waitFor();

  assert.deepEqual(seen, [
    "local outlined",
    "federated outlined",
    "room outlined",
    "Ask for a token outlined",
    "New room outlined",
    "room outlined",
    "The token’s whole payload outlined",
  ]);
  visitor.assertContent(host);
});

pageTest("what comes of it is announced, and every control has a name", async (visit) => {
  await using visitor = await visit();
  const { page } = visitor;
  assert.equal(await page.getByRole("group", { name: "Who asks?" }).getByRole("radio").count(), 3);
  const live = page.getByRole("status").and(page.locator("#verdict"));
  assert.equal(await live.textContent(), "Nobody has asked yet.");
  await visitor.ask("Bob", "!announced:localhost");
  assert.match(await live.textContent() ?? "", /^@bob:.* has a token/);
  assert.match(await page.getByRole("heading", { name: "May it join?" }).textContent() ?? "", /^Refused: /);
});

const BAD_ROOMS = ["nonsense", "#alias:localhost", "   ", `!${"x".repeat(300)}`];

for (const room of BAD_ROOMS) {
  pageTest(`the room "${room.slice(0, 20)}" is complained of beside it, until it is changed`, async (visit, host) => {
    await using visitor = await visit();
    const { page } = visitor;
    const input = page.getByLabel("Which Matrix room?");
    await visitor.ask("Alice", room);
    assert.match(await page.getByRole("alert").textContent() ?? "", /expected/);
    assert.equal(await input.getAttribute("aria-invalid"), "true");
    assert.equal(await input.evaluate((element) => element.matches(":focus")), true);
    assert.equal((await visitor.verdict()).kind, "none");

    await input.fill("!better:localhost");
    assert.equal(await page.getByRole("alert").textContent(), "");
    assert.equal(await input.getAttribute("aria-invalid"), "false");
    visitor.assertContent(host, /status of 400/); // the browser's own note of the answer
  });
}

pageTest("markup in a room's ID stays text", async (visit, host) => {
  await using visitor = await visit();
  const { page } = visitor;
  const room = `!"><img src=x onerror="document.title='hit'"><script>document.title='hit'</script>`;
  for (const who of ["Bob", "Alice", "impostor"] as const) {
    await visitor.ask(who, room);
    assert.ok((await visitor.step("The client asks"))?.includes(room));
  }
  assert.equal(await page.locator("#rooms > li", { hasText: room }).count(), 1);
  assert.equal(await page.locator("img, body script").count(), 0);
  assert.match(await page.title(), /^MatrixRTC/);
  visitor.assertContent(host); // not even an attempt that the policy had to stop
});

pageTest("markup that gets in by other ways is stopped by the policy", async (visit) => {
  await using visitor = await visit();
  await visitor.page.evaluate(
    `document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='document.title=1'>")`,
  );
  await visitor.page.locator("img").waitFor({ state: "attached" });
  assert.match(await visitor.page.title(), /^MatrixRTC/);
  assert.match(visitor.complaints.join("\n"), /Content Security Policy/);
});

pageTest("a demo that has ended is told as such, not as a refusal", async (visit) => {
  await using visitor = await visit();
  await visitor.page.route("**/play", (route) => route.abort());
  await visitor.page.getByRole("button", { name: "Ask for a token" }).click();
  await visitor.page.locator("#verdict[data-kind=failed]").waitFor();
  assert.match((await visitor.verdict()).text ?? "", /^The demo does not answer/);
});

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of [320, 1280]) {
    pageTest(`${colorScheme}, ${width} px wide: nothing sticks out, and all text can be read`, async (visit) => {
      await using visitor = await visit({ colorScheme, viewport: { width, height: 800 } });
      const grounds = new Set<unknown>();
      for (const who of ["Alice", "Bob", "impostor"] as const) {
        await visitor.ask(who, `!${who}${"-long".repeat(15)}:localhost`);
        assert.equal(await visitor.page.evaluate("document.documentElement.scrollWidth"), width);
        assert.deepEqual(await visitor.page.evaluate(POOR_CONTRAST), []);
        assert.equal(await visitor.page.evaluate(VERDICT_IN_VIEW), true, "the verdict is in view");
        grounds.add(await visitor.page.evaluate("getComputedStyle(document.body).backgroundColor"));
      }
      await visitor.ask("Alice", "nonsense");
      assert.deepEqual(await visitor.page.evaluate(POOR_CONTRAST), []);
      assert.deepEqual([...grounds], [colorScheme === "dark" ? "rgb(14, 18, 23)" : "rgb(244, 246, 248)"]);
    });
  }
}

pageTest("nothing moves for those who want no motion", async (visit) => {
  const motion = "[getComputedStyle(document.documentElement).scrollBehavior, " +
    "getComputedStyle(document.querySelector('button')).transitionDuration]";
  await using still = await visit({ reducedMotion: "reduce" });
  assert.deepEqual(await still.page.evaluate(motion), ["auto", "0s"]);
  await using moving = await visit({ reducedMotion: "no-preference" });
  assert.equal(v.parse(v.array(v.string()), await moving.page.evaluate(motion))[0], "smooth");
});

// The scripts below run in the page.

// Which control has the focus, and whether it or the card around it is outlined.
const FOCUS = `(() => {
  const focused = document.activeElement;
  const isOutlined = [focused, focused.closest(".choice")].some((element) => {
    const { outlineStyle, outlineWidth } = element === null ? {} : getComputedStyle(element);
    return outlineStyle === "solid" && parseFloat(outlineWidth) >= 2;
  });
  const name = focused.type === "radio" ? focused.value : focused.id === "room" ? "room" : focused.textContent;
  return name + (isOutlined ? " outlined" : " not outlined");
})()`;

// Texts whose contrast is under 4.5 (WCAG 2.2, 1.4.3), with the colours.
const POOR_CONTRAST = `(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const groundOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const ground = parse(getComputedStyle(at).backgroundColor);
      if (ground.length === 3) return ground;
    }
  };
  return [...document.querySelectorAll("body *")].flatMap((element) => {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    if (text === "" || !element.checkVisibility() || element.closest(".spoken, button")) return [];
    const [front, ground] = [parse(getComputedStyle(element).color), groundOf(element)];
    const [low, high] = [luminance(front), luminance(ground)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    return contrast < 4.5 ? [text.slice(0, 40) + " " + front + " on " + ground + ": " + contrast.toFixed(2)] : [];
  });
})()`;

const VERDICT_IN_VIEW = `new Promise((resolve) => {
  new IntersectionObserver((entries, observer) => {
    if (entries.some(({ isIntersecting }) => isIntersecting)) { observer.disconnect(); resolve(true); }
  }).observe(document.getElementById("verdict"));
  setTimeout(() => resolve(false), 5000);
})`;
