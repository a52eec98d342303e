// Everything that asks others, built once for whoever needs it: the service, its checks at the start, and the doctor, so
// that what a check sees is what the service sees.

import { HomeserverPolicy } from "./admission/homeserver_policy.ts";
import type { Config } from "./config/config.ts";
import { AccessTokenSigner } from "./livekit/access_token.ts";
import { RoomService } from "./livekit/room_service.ts";
import { ClientDiscovery } from "./matrix/client_discovery.ts";
import { FederationClient } from "./matrix/federation_client.ts";
import { ServerDiscovery } from "./matrix/server_discovery.ts";
import type { ServerName } from "./matrix/server_name.ts";
import { AddressGuard, type DialRule } from "./net/address_guard.ts";
import { type Outbound, OutboundClient } from "./net/client.ts";
import type { Platform } from "./platform.ts";
import { VERSION } from "./version.ts";

/** The clients of one configuration. */
export interface Clients {
  readonly outbound: Outbound;
  readonly ruleFor: (serverName: string) => DialRule;
  readonly discovery: ServerDiscovery;
  readonly federation: FederationClient;
  readonly clientDiscovery: ClientDiscovery;
  readonly signer: AccessTokenSigner;
  readonly roomService: RoomService;
  /** Closes idle connections. */
  readonly close: () => void;
}

/** What the clients are built with beside the configuration. */
export interface ClientOptions {
  readonly homeservers: HomeserverPolicy;
  /** Whether a server is listed or has vouched for a user lately. */
  readonly isKnown?: (server: ServerName) => boolean;
  /** Put around the outbound client, to measure it or, in tests, to stand in for it. */
  readonly wrap?: (outbound: Outbound) => Outbound;
}

/** What the operator decided about homeservers. */
export function policyOf(config: Config): HomeserverPolicy {
  return new HomeserverPolicy({
    ...config.homeservers,
    fullAccess: config.fullAccess,
    overridden: config.federationUrlOverrides,
    tlsSkipped: config.skipTlsVerification,
  });
}

/** Builds them; nothing is asked yet. */
export function createClients(
  config: Config,
  platform: Platform,
  { homeservers, isKnown = () => false, wrap = (outbound) => outbound }: ClientOptions,
): Clients {
  const { clock, random, resolveSrv, resolveHost, connectors } = platform;
  const client = new OutboundClient({
    guard: new AddressGuard(config.federationAllowNetworks),
    verifyTls: !config.skipTlsVerification,
    clock,
    userAgent: `lk-jwt-service/${VERSION}`,
    proxies: config.proxies,
    ...(resolveHost === undefined ? {} : { resolveHost }),
    ...(connectors === undefined ? {} : { connectors }),
  });
  const outbound = wrap(client);
  const ruleFor = (serverName: string) => homeservers.ruleFor(serverName);
  const deps = { outbound, ruleFor, clock, random };
  const discovery = new ServerDiscovery({ ...deps, resolveSrv, overrides: config.federationUrlOverrides });
  const signer = new AccessTokenSigner(config.apiKeys[0]);
  return {
    outbound,
    ruleFor,
    discovery,
    federation: new FederationClient({ ...deps, discovery, isKnown }),
    clientDiscovery: new ClientDiscovery({ ...deps, overrides: config.csApiUrlOverrides }),
    signer,
    roomService: new RoomService({ apiUrl: config.sfuApiUrl, outbound, signer, clock }),
    close: () => client.close(),
  };
}
