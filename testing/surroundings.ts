// What a service process has around it: homeservers with verified TLS, an SFU, and the variables that lead to them.

import { CertificateAuthority } from "./certificates.ts";
import { DevelopmentHomeserver, type OpenIdToken } from "./fake_homeserver.ts";
import { DevelopmentSfu } from "./fake_sfu.ts";
import type { ServiceProcess, Variables } from "./service_process.ts";

const authority = await CertificateAuthority.create();
const certificate = await authority.issue({ dnsNames: ["localhost"], addresses: ["127.0.0.1", "::1"] });

/** An empty directory that is gone at the end of its scope. */
export class TemporaryDirectory implements AsyncDisposable {
  readonly path = Deno.makeTempDirSync({ prefix: "lk-jwt-service-test-" });

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** The surroundings of one service. */
export class Surroundings implements AsyncDisposable {
  private constructor(
    readonly homeserver: DevelopmentHomeserver,
    readonly sfu: DevelopmentSfu,
    readonly directory: TemporaryDirectory,
  ) {}

  /** Starts them. */
  static async start(): Promise<Surroundings> {
    const directory = new TemporaryDirectory();
    await Deno.writeTextFile(`${directory.path}/ca.pem`, authority.certificate);
    return new Surroundings(
      await startHomeserver(),
      await DevelopmentSfu.start({ pathPrefix: "/livekit/sfu" }),
      directory,
    );
  }

  /** Variables of a service for this homeserver's users. */
  get variables(): Variables {
    return {
      LIVEKIT_URL: this.sfu.url,
      LIVEKIT_KEY: this.sfu.apiKey,
      LIVEKIT_SECRET: this.sfu.apiSecret,
      LIVEKIT_JWT_BIND: "127.0.0.1:0",
      LIVEKIT_FULL_ACCESS_HOMESERVERS: this.homeserver.serverName,
      LIVEKIT_EXTRA_CA_FILE: `${this.directory.path}/ca.pem`,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.homeserver[Symbol.asyncDispose]();
    await this.sfu[Symbol.asyncDispose]();
    await this.directory[Symbol.asyncDispose]();
  }
}

/** A homeserver with a certificate that the variables of {@link Surroundings} make trusted. */
export function startHomeserver(sub?: string): Promise<DevelopmentHomeserver> {
  return DevelopmentHomeserver.start({ certificate, ...(sub === undefined ? {} : { sub }) });
}

/** Asks a service for a grant as an older client does. */
export function requestGrant(
  service: ServiceProcess,
  token: OpenIdToken,
  room = "!room:example.com",
): Promise<Response> {
  return fetch(`${service.url}/sfu/get`, {
    method: "POST",
    body: JSON.stringify({ room, openid_token: token, device_id: "DEVICE" }),
  });
}
