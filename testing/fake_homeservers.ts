// Homeservers as the oracle of the fault tests: each on a port of its own, whose delayed events keep their own
// time, and which remember every call with the process that made it and whether it got an answer.

import { randomBytes } from "node:crypto";
import { type Answer, jsonAnswer } from "./answer.ts";
import { DelayedEventsDouble } from "./delayed_events.ts";
import { USERINFO_PATH } from "./fake_homeserver.ts";
import { LoopbackServer, type ReceivedRequest } from "./loopback_server.ts";

const UNRECOGNIZED = jsonAnswer(404, { errcode: "M_UNRECOGNIZED", error: "Unrecognized request" });
const UNKNOWN_TOKEN = jsonAnswer(401, { errcode: "M_UNKNOWN_TOKEN", error: "Access Token unknown or expired" });

/** The homeservers. */
export class Homeservers extends DelayedEventsDouble implements AsyncDisposable {
  /** `hs0.example`, `hs1.example` and so on. */
  readonly names: readonly string[];
  readonly #servers: readonly LoopbackServer[];
  readonly #users = new Map<string, string>();

  private constructor(servers: readonly LoopbackServer[]) {
    super();
    this.#servers = servers;
    this.names = servers.map((_, index) => `hs${index}.example`);
    for (const server of servers) server.handler = (request) => this.#answer(request);
  }

  static async start(count: number): Promise<Homeservers> {
    return new Homeservers(await Promise.all(Array.from({ length: count }, () => LoopbackServer.start({}))));
  }

  /** Variables that lead a service here; the name of its life tells its calls apart. */
  variables(life: string): Readonly<Record<string, string>> {
    const urls = this.#servers.map((server, index) => `${this.names[index]}=${server.url.origin}`);
    return {
      LIVEKIT_FULL_ACCESS_HOMESERVERS: this.names.join(),
      LIVEKIT_FEDERATION_URL_OVERRIDES: urls.join(),
      LIVEKIT_CS_API_URL_OVERRIDES: urls.map((url) => `${url}/${life}`).join(),
    };
  }

  /** An OpenID token of a user. */
  mintToken(userId: string): { readonly access_token: string; readonly matrix_server_name: string } {
    const token = randomBytes(12).toString("hex");
    this.#users.set(token, userId);
    return { access_token: token, matrix_server_name: userId.slice(userId.indexOf(":") + 1) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await Promise.all(this.#servers.map((server) => server[Symbol.asyncDispose]()));
  }

  async #answer({ path, query }: ReceivedRequest): Promise<Answer> {
    if (path === USERINFO_PATH) {
      const sub = this.#users.get(query.get("access_token") ?? "");
      return sub === undefined ? UNKNOWN_TOKEN : jsonAnswer(200, { sub });
    }
    return await this.answer(path) ?? UNRECOGNIZED;
  }
}
