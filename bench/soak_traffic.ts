// The traffic of a soak: ordinary exchanges, each with a fresh token; leave events that are handed over and soon over;
// broken homeservers and rooms; clients that ask for nonsense, go away in the middle or say half of something; webhooks
// that nobody signed.

import { setTimeout as sleep } from "node:timers/promises";
import type { Homeservers } from "../testing/fake_homeservers.ts";
import type { Chaos } from "../testing/chaos.ts";

const ORDINARY_WORKERS = 6;
const BROKEN_WORKERS = 12;
const PAUSE_MS = 10;
const LEAVE_DELAY_MS = 3000;

const NONSENSE: readonly (readonly [method: string, path: string, body: string | null])[] = [
  ["POST", "/sfu/get", "{"],
  ["POST", "/sfu/get", "{}"],
  ["POST", "/sfu/get", " ".repeat(70_000)],
  ["POST", "/get_token", '{"room_id":1}'],
  ["POST", "/delegate_delayed_leave", null],
  ["PUT", "/get_token", "{}"],
  ["GET", "/nowhere", null],
  ["OPTIONS", "/sfu/get", null],
  ["POST", "/sfu_webhook", '{"event":"participant_left","id":"EV_1"}'],
  ["POST", "/sfu/get", '{"room":"r","openid_token":{"access_token":"t","matrix_server_name":"not a name"}}'],
];

/** Traffic that runs until it is stopped. */
export class SoakTraffic {
  readonly #url: string;
  readonly #chaos: Chaos;
  readonly #delayedEvents: Homeservers;
  readonly #workers: Promise<void>[] = [];
  readonly #counts = new Map<string, number>();
  // One of its own, so that its connections end with the traffic.
  readonly #client = Deno.createHttpClient({});
  #latenciesMs: number[] = [];
  #isOver = false;
  /** Ordinary exchanges that were not granted, and broken ones with another status than theirs. */
  wrong = 0;

  constructor(url: string, chaos: Chaos, delayedEvents: Homeservers) {
    this.#url = url;
    this.#chaos = chaos;
    this.#delayedEvents = delayedEvents;
  }

  /** Starts all workers. */
  start(): void {
    const { homeserver, homeservers, rooms } = this.#chaos;
    for (let n = 0; n < ORDINARY_WORKERS; n++) this.#work(() => this.#ordinary(n));
    // What is broken once is well afterwards: any of the two is right.
    const lasting = homeservers.filter(({ what }) => !what.endsWith("once"));
    for (let n = 0; n < BROKEN_WORKERS; n++) {
      this.#work(async (turn) => {
        const at = (turn * BROKEN_WORKERS + n) % (lasting.length + rooms.length);
        const room = rooms[at - lasting.length];
        const broken = lasting[at];
        if (broken !== undefined) return await this.#expect(broken.status, "!room", broken.token);
        if (room !== undefined) await this.#expect(room.status, room.roomId, homeserver.mintOpenIdToken(`r${turn}`));
      });
    }
    this.#work((turn) => this.#handOver(turn));
    this.#work((turn) => this.#nonsense(turn));
    this.#work(() => this.#goAway());
    this.#work(() => this.#sayHalf());
  }

  /** Ends it, once what is under way is answered. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#workers);
    this.#client.close();
  }

  /** Latencies of the ordinary exchanges since the last call. */
  takeLatencies(): { readonly p50Ms: number; readonly p99Ms: number } {
    const sorted = this.#latenciesMs.sort((left, right) => left - right);
    this.#latenciesMs = [];
    const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? 0;
    return { p50Ms: at(0.5), p99Ms: at(0.99) };
  }

  /** What was sent, for people. */
  describe(): string {
    const counts = [...this.#counts].sort().map(([what, count]) => `${count} ${what}`);
    return `${counts.join(", ")}; ${this.wrong} wrong answers`;
  }

  #work(once: (turn: number) => Promise<void>): void {
    const work = async () => {
      for (let turn = 0; !this.#isOver; turn++) {
        await once(turn);
        await sleep(PAUSE_MS);
      }
    };
    this.#workers.push(work());
  }

  async #ordinary(worker: number): Promise<void> {
    const startedAt = performance.now();
    const user = `user-${worker}-${startedAt}`;
    await this.#expect(200, `!${crypto.randomUUID()}`, this.#chaos.homeserver.mintOpenIdToken(user), "ordinary");
    this.#latenciesMs.push(performance.now() - startedAt);
  }

  /** A leave event of somebody who never connects: put off once, and sent when its time has come. */
  async #handOver(turn: number): Promise<void> {
    const { homeserver } = this.#chaos;
    const { delayId, delayMs } = this.#delayedEvents.schedule(homeserver.serverName, LEAVE_DELAY_MS);
    const body = JSON.stringify({
      room_id: `!leave-${turn}:example.com`,
      slot_id: "m.call#ROOM",
      openid_token: homeserver.mintOpenIdToken(`leaver${turn}`),
      member: { id: "member", claimed_user_id: `@leaver${turn}:${homeserver.serverName}`, claimed_device_id: "SOAK" },
      delay_id: delayId,
      delay_timeout: delayMs,
    });
    const response = await fetch(`${this.#url}/delegate_delayed_leave`, { method: "POST", body, client: this.#client });
    await response.body?.cancel();
    if (response.status !== 200) this.wrong++;
    this.#count("leaves handed over");
  }

  async #expect(status: number, room: string, openid_token: unknown, what = "broken"): Promise<void> {
    const body = JSON.stringify({ room, openid_token, device_id: "SOAK" });
    const response = await fetch(`${this.#url}/sfu/get`, { method: "POST", body, client: this.#client });
    await response.body?.cancel();
    if (response.status !== status) this.wrong++;
    this.#count(what);
  }

  async #nonsense(turn: number): Promise<void> {
    const [method, path, body] = NONSENSE[turn % NONSENSE.length] ?? ["GET", "/", null];
    const response = await fetch(`${this.#url}${path}`, { method, body, client: this.#client });
    await response.body?.cancel();
    if (response.status >= 500) this.wrong++;
    this.#count("nonsense");
  }

  /** A client that asks what takes long, and does not wait for the answer. */
  async #goAway(): Promise<void> {
    const token = this.#chaos.homeservers.find(({ what }) => what === "hangs")?.token;
    const body = JSON.stringify({ room: "!room", openid_token: { ...token, access_token: crypto.randomUUID() } });
    const signal = AbortSignal.timeout(20);
    const response = await fetch(`${this.#url}/sfu/get`, { method: "POST", body, signal, client: this.#client }).catch(
      () => null,
    );
    await response?.body?.cancel();
    this.#count("gone away");
  }

  /** A connection with half a head, or half a body, that ends. */
  async #sayHalf(): Promise<void> {
    const { hostname, port } = new URL(this.#url);
    using connection = await Deno.connect({ hostname, port: Number(port) });
    const text = "POST /sfu/get HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    const bytes = new TextEncoder().encode(Math.random() < 0.5 ? text : text.slice(0, 30));
    await connection.write(bytes);
    await sleep(30);
    this.#count("half said");
  }

  #count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1);
  }
}
