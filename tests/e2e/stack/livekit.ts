// A real SFU: livekit-server, built from the Go module proxy, on loopback only and without rooms of its own accord. What
// it says about rooms and participants is what the tests believe.

import { type ParticipantInfo, RoomServiceClient, TwirpError } from "livekit-server-sdk";
import { ensureInstalled, type Tool } from "../../../testing/installation.ts";
import { freePort } from "../../../testing/free_port.ts";
import { BackgroundProcess, runToEnd } from "../../../testing/child_process.ts";

const VERSION = "1.13.5";
const MODULE = "github.com/livekit/livekit-server/cmd/server";
const START_TIMEOUT_MS = 30_000;
const START_ATTEMPTS = 3;
const LOOPBACK_INTERFACE = Deno.build.os === "darwin" ? "lo0" : "lo";

const LIVEKIT: Tool = {
  name: "livekit-server",
  version: VERSION,
  effort: "go install, 1 to 4 minutes",
  async install(folder) {
    await runToEnd("go", ["install", `${MODULE}@v${VERSION}`], {
      env: { GOBIN: folder, GOFLAGS: "-mod=mod" },
      toInstall: "install Go 1.26 or newer (https://go.dev/dl)",
    });
    await Deno.rename(`${folder}/server`, binaryOf(folder));
  },
  async describe(folder) {
    return `LiveKit: ${await runToEnd(binaryOf(folder), ["--version"])}`;
  },
};

/** What may differ between two SFUs. */
export interface LiveKitOptions {
  readonly apiKey: string;
  /** At least 32 characters. */
  readonly apiSecret: string;
  /** Further API keys, each with its secret. */
  readonly furtherKeys?: Readonly<Record<string, string>>;
  /** Where it sends its webhooks. */
  readonly webhookUrls?: readonly string[];
  /** Whether whoever joins creates the room: the mistake that voids restricted access. */
  readonly autoCreate?: boolean;
}

/** An SFU that runs. */
export class LiveKit implements AsyncDisposable {
  /** What clients connect to. */
  readonly url: string;
  readonly #apiUrl: string;
  readonly #rooms: RoomServiceClient;
  readonly #run: () => BackgroundProcess;
  readonly #folder: string;
  #process: BackgroundProcess;

  /** @param run Starts its process, always on the same ports. */
  constructor(port: number, { apiKey, apiSecret }: LiveKitOptions, run: () => BackgroundProcess, folder: string) {
    this.url = `ws://127.0.0.1:${port}`;
    this.#apiUrl = `http://127.0.0.1:${port}`;
    this.#rooms = new RoomServiceClient(this.#apiUrl, apiKey, apiSecret);
    this.#run = run;
    this.#process = run();
    this.#folder = folder;
  }

  /** Waits until it answers. */
  async untilReady(): Promise<void> {
    await this.#process.untilReady((signal) => this.isHealthy(signal), START_TIMEOUT_MS);
  }

  /** Ends it as a crash does: nobody is told anything. */
  async kill(): Promise<void> {
    await this.#process.stop({ signal: "SIGKILL", graceMs: 5000 });
  }

  /** Starts it again after {@link kill}: no room is left. */
  async restart(): Promise<void> {
    this.#process = this.#run();
    await this.untilReady();
  }

  /** Whether it answers at all. */
  async isHealthy(signal: AbortSignal): Promise<boolean> {
    const response = await fetch(this.#apiUrl, { signal });
    await response.body?.cancel();
    return response.ok;
  }

  /** Whether a room exists (ListRooms). */
  async hasRoom(name: string): Promise<boolean> {
    const rooms = await this.#rooms.listRooms([name]);
    return rooms.some((room) => room.name === name);
  }

  /** Who is in a room (ListParticipants); nobody is in a room that does not exist. */
  async participants(room: string): Promise<ParticipantInfo[]> {
    try {
      return await this.#rooms.listParticipants(room);
    } catch (error) {
      if (error instanceof TwirpError && error.code === "not_found") return [];
      throw error;
    }
  }

  /** Identities of those in a room, sorted. */
  async identities(room: string): Promise<string[]> {
    return (await this.participants(room)).map(({ identity }) => identity).sort();
  }

  /** Throws a participant out. */
  async removeParticipant(room: string, identity: string): Promise<void> {
    await this.#rooms.removeParticipant(room, identity);
  }

  /**
   * What it thinks of a token, over HTTP: the answer that a client sees before its WebSocket is opened.
   *
   * @param room A room to ask for; by default the token's own.
   */
  async validate(jwt: string, room?: string): Promise<{ status: number; text: string }> {
    const url = new URL("/rtc/validate", this.#apiUrl);
    url.searchParams.set("access_token", jwt);
    if (room !== undefined) url.searchParams.set("room", room);
    const response = await fetch(url);
    return { status: response.status, text: (await response.text()).trim() };
  }

  /** Calls its API with somebody's token, and gives the HTTP status. */
  async callApi(jwt: string, method: string, request: Readonly<Record<string, unknown>>): Promise<number> {
    const response = await fetch(`${this.#apiUrl}/twirp/livekit.RoomService/${method}`, {
      method: "POST",
      headers: { authorization: `Bearer ${jwt}`, "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    await response.body?.cancel();
    return response.status;
  }

  /** The end of its log. */
  output(): string {
    return this.#process.output();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill(); // on SIGTERM it would wait for participants to leave
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Makes the installation ready without starting a server. */
export function installLiveKit(): Promise<string> {
  return ensureInstalled(LIVEKIT);
}

/**
 * Starts an SFU without rooms, and waits until it answers.
 *
 * @throws MissingProgram, or an Error with the server's log.
 */
export async function startLiveKit(options: LiveKitOptions): Promise<LiveKit> {
  const installation = await installLiveKit();
  for (let attempt = 1;; attempt++) {
    try {
      return await startOnFreePorts(installation, options);
    } catch (error) {
      // Somebody else on this machine has taken one since it was found free.
      const isTaken = error instanceof Error && error.message.includes("address already in use");
      if (!isTaken || attempt === START_ATTEMPTS) throw error;
    }
  }
}

async function startOnFreePorts(installation: string, options: LiveKitOptions): Promise<LiveKit> {
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-livekit-" });
  const [port, tcpPort, udpPort, stunPort] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const config = {
    port,
    bind_addresses: ["127.0.0.1"],
    rtc: {
      tcp_port: tcpPort,
      udp_port: udpPort,
      use_external_ip: false,
      node_ip: "127.0.0.1",
      enable_loopback_candidate: true,
      interfaces: { includes: [LOOPBACK_INTERFACE] },
      stun_servers: [`127.0.0.1:${stunPort}`], // nobody is there; without it clients are sent to a public one
    },
    room: { auto_create: options.autoCreate ?? false },
    keys: { ...options.furtherKeys, [options.apiKey]: options.apiSecret },
    ...(options.webhookUrls === undefined ? {} : { webhook: { api_key: options.apiKey, urls: options.webhookUrls } }),
  };
  await Deno.writeTextFile(`${folder}/livekit.yaml`, JSON.stringify(config, null, 2)); // JSON is YAML
  const run = () =>
    new BackgroundProcess({
      name: "LiveKit",
      program: binaryOf(installation),
      args: ["--config", `${folder}/livekit.yaml`],
      logFile: `${folder}/livekit.log`,
      cwd: folder,
    });
  const livekit = new LiveKit(port, options, run, folder);
  try {
    await livekit.untilReady();
    return livekit;
  } catch (error) {
    await livekit[Symbol.asyncDispose]();
    throw error;
  }
}

function binaryOf(installation: string): string {
  return `${installation}/livekit-server`;
}
