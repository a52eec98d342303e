// The demo's page in a real browser, as a person uses it. Nothing that the browser asks for may lie elsewhere than on
// loopback, and nothing may end up on its console.

import assert from "node:assert/strict";
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { assertChromium } from "./stack/browser.ts";

const PROGRAM = "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1", // no DNS query leaves it
];

/** @throws MissingProgram when there is no Chromium. */
export async function launchBrowser(): Promise<Browser> {
  await assertChromium();
  return await chromium.launch({ executablePath: PROGRAM, args: FLAGS });
}

/** One visitor; closes with its context. */
export class Visitor implements AsyncDisposable {
  readonly page: Page;
  /** What the browser wrote to its console: errors of the page, violations of its policy. */
  readonly complaints: string[] = [];
  /** Hosts, with ports, of all that was asked for over HTTP. */
  readonly hosts = new Set<string>();
  readonly #context: BrowserContext;

  private constructor(context: BrowserContext, page: Page) {
    this.#context = context;
    this.page = page;
    page.on("pageerror", (error) => this.complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") this.complaints.push(message.text());
    });
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol !== "data:") this.hosts.add(url.host);
    });
  }

  /** Opens the page and waits until it knows its stage. */
  static async visit(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Visitor> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const visitor = new Visitor(context, await context.newPage());
    await visitor.page.goto(url);
    await visitor.page.locator("#service-url:not(:empty)").waitFor();
    return visitor;
  }

  /** Asks for a token with the mouse, and waits for the verdict. */
  async ask(who: "Alice" | "Bob" | "impostor", room: string): Promise<void> {
    await this.page.getByRole("radio", { name: who, exact: false }).and(this.page.locator(`[value=${ROLE[who]}]`))
      .check();
    await this.page.getByLabel("Which Matrix room?").fill(room);
    const answered = this.page.waitForResponse((response) => response.url().endsWith("/play"));
    await this.page.getByRole("button", { name: "Ask for a token" }).click();
    await answered;
    await this.page.locator("#ask:not([aria-busy])").waitFor();
  }

  /** What the page announces, and of what kind it is. */
  async verdict(): Promise<{ kind: string | null; text: string | null }> {
    const verdict = this.page.locator("#verdict");
    return { kind: await verdict.getAttribute("data-kind"), text: await verdict.textContent() };
  }

  /** First line of a step. */
  async step(title: string): Promise<string | null> {
    const item = this.page.locator("#steps > li", { has: this.page.getByRole("heading", { name: title }) });
    return await item.locator("p").first().textContent();
  }

  /** Fails when the browser complained of anything but the expected, or asked another host. */
  assertContent(host: string, expected = /^$/): void {
    assert.deepEqual(this.complaints.filter((complaint) => !expected.test(complaint)), []);
    assert.deepEqual([...this.hosts], [host]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.close();
  }
}

const ROLE = { Alice: "local", Bob: "federated", impostor: "impostor" };
