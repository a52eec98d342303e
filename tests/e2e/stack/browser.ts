// A real browser, and in it a page that does what a Matrix client does: fetch() from an origin of its own, and LiveKit's
// browser library. What a page's script may see is decided by the browser, CORS included.

import { createHash, X509Certificate } from "node:crypto";
import { fileURLToPath } from "node:url";
import type { Room } from "livekit-client";
import { type Browser, type BrowserContext, chromium, type JSHandle, type Page } from "playwright-core";
import * as v from "valibot";
import { runToEnd } from "../../../testing/child_process.ts";

const PROGRAM = "/usr/bin/chromium";
const LIVEKIT_CLIENT = fileURLToPath(import.meta.resolve("livekit-client"));
const LIVEKIT_CLIENT_PATH = "/livekit-client.mjs";

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

// A WebSocket that fails is reported with its URL.
const JWT = /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;

/** @throws MissingProgram */
export async function assertChromium(): Promise<void> {
  await runToEnd(PROGRAM, ["--version"], { toInstall: "install Chromium (Debian: chromium)" });
}

/** What a page's script sees of an answer. */
export interface SeenAnswer {
  readonly status: number;
  readonly contentType: string | null;
  /** Parsed as JSON. */
  readonly body: unknown;
}

/** A CORS preflight that the browser made of its own accord. */
export interface Preflight {
  readonly url: string;
  readonly status: number;
}

/** A browser without a window, and a web server with an empty page for it. */
export class TestBrowser implements AsyncDisposable {
  readonly #browser: Browser;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(browser: Browser, server: Deno.HttpServer<Deno.NetAddr>) {
    this.#browser = browser;
    this.#server = server;
  }

  /** Opens a page that shares nothing, no cached preflight either, with pages before it. */
  async openPage(): Promise<ClientPage> {
    const context = await this.#browser.newContext();
    const page = await context.newPage();
    await page.goto(`http://127.0.0.1:${this.#server.addr.port}/`);
    const clientPage = new ClientPage(context, page);
    await clientPage.watchPreflights();
    return clientPage;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
    await this.#server.shutdown();
  }
}

/** A page of another origin than everything it talks to. */
export class ClientPage implements AsyncDisposable {
  /** Preflights answered so far, oldest first. */
  readonly preflights: Preflight[] = [];
  readonly #context: BrowserContext;
  readonly #page: Page;
  readonly #complaints: string[] = [];

  constructor(context: BrowserContext, page: Page) {
    this.#context = context;
    this.#page = page;
    page.on("console", (message) => this.#complaints.push(message.text()));
  }

  /** Starts to fill {@link preflights}. */
  async watchPreflights(): Promise<void> {
    const session = await this.#context.newCDPSession(this.#page);
    session.on("Network.responseReceived", ({ type, response }) => {
      if (type === "Preflight") this.preflights.push({ url: response.url, status: response.status });
    });
    await session.send("Network.enable");
  }

  /**
   * Calls fetch(), and reads status and body from the answer.
   *
   * @param body Sent with the type application/json; without one there is no body and no header, as in a probe.
   * @throws With what the browser says about it, when the script is not shown the answer.
   */
  async fetch(method: "GET" | "POST", url: string, body?: string): Promise<SeenAnswer> {
    const json = { headers: { "Content-Type": "application/json" }, body: body ?? "" };
    const init = { method, ...(body === undefined ? {} : json) };
    const { text, ...seen } = await this.#explained(
      `${method} "${url}"`,
      () =>
        this.#page.evaluate(async ({ url, init }) => {
          const response = await fetch(url, init);
          const contentType = response.headers.get("content-type");
          return { status: response.status, contentType, text: await response.text() };
        }, { url, init }),
    );
    return { ...seen, body: JSON.parse(text) };
  }

  /** The payload of a JWT, decoded as Element Call does it: with atob(), which knows no base64url. */
  async decodeJwt(jwt: string): Promise<unknown> {
    return await this.#page.evaluate((jwt): unknown => JSON.parse(atob(jwt.split(".")[1] ?? "")), jwt);
  }

  /**
   * Joins a room of the SFU, media connection included.
   *
   * @throws With what the browser says about it.
   */
  async joinRoom(url: string, jwt: string): Promise<BrowserParticipant> {
    const room = await this.#explained(
      `join "${url}"`,
      () =>
        this.#page.evaluateHandle(async ({ clientPath, url, jwt }) => {
          const { Room }: typeof import("livekit-client") = await import(clientPath);
          const room = new Room();
          await room.connect(url, jwt);
          return room;
        }, { clientPath: LIVEKIT_CLIENT_PATH, url, jwt }),
    );
    return new BrowserParticipant(room);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.close();
  }

  async #explained<T>(what: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const text = [message, ...this.#complaints.slice(-5)].join("\n").replace(JWT, "[JWT]");
      throw new Error(`Cannot ${what} from a page: ${text}`);
    }
  }
}

const SEEN_PARTICIPANT = v.object({ roomName: v.string(), identity: v.string() });

/** A participant in a page; leaves when it is disposed. */
export class BrowserParticipant implements AsyncDisposable {
  readonly #room: JSHandle<Room>;

  constructor(room: JSHandle<Room>) {
    this.#room = room;
  }

  /** Name of the room and own identity, in the SFU's words. */
  async describe(): Promise<v.InferOutput<typeof SEEN_PARTICIPANT>> {
    const seen = await this.#room.evaluate((room) => ({
      roomName: room.name,
      identity: room.localParticipant.identity,
    }));
    return v.parse(SEEN_PARTICIPANT, seen);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#room.evaluate((room) => room.disconnect());
  }
}

/**
 * Starts the browser.
 *
 * @param certificate PEM of the one server certificate that it accepts although it does not know who issued it.
 */
export async function startBrowser(certificate: string): Promise<TestBrowser> {
  const browser = await chromium.launch({
    executablePath: PROGRAM,
    args: [...FLAGS, `--ignore-certificate-errors-spki-list=${spkiHashOf(certificate)}`],
  });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, servePage);
  return new TestBrowser(browser, server);
}

async function servePage(request: Request): Promise<Response> {
  if (new URL(request.url).pathname !== LIVEKIT_CLIENT_PATH) {
    return new Response("<!doctype html><title>A Matrix client</title>", { headers: { "content-type": "text/html" } });
  }
  const script = await Deno.readTextFile(LIVEKIT_CLIENT);
  return new Response(script, { headers: { "content-type": "text/javascript" } });
}

function spkiHashOf(certificate: string): string {
  const spki = new X509Certificate(certificate).publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(spki).digest("base64");
}
