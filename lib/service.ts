// Builds one service out of its parts, listens, and drains. The only place where production parts are chosen.

import { setTimeout as sleepFor } from "node:timers/promises";
import { Capacity } from "./capacity.ts";
import type { Config } from "./config.ts";
import { createApp } from "./http/app.ts";
import { Delegations } from "./leave/delegations.ts";
import { Inbox } from "./leave/inbox.ts";
import { LeaveManager } from "./leave/manager.ts";
import { chooseStore } from "./leave/open_store.ts";
import { AccessTokenSigner } from "./livekit/access_token.ts";
import { RoomService } from "./livekit/room_service.ts";
import { Rooms } from "./livekit/rooms.ts";
import { Webhooks } from "./livekit/webhook.ts";
import { ClientDiscovery } from "./matrix/client_discovery.ts";
import { DelayedEvents } from "./matrix/delayed_events.ts";
import { FederationClient } from "./matrix/federation_client.ts";
import { OpenIdVerifier } from "./matrix/openid.ts";
import { ServerDiscovery } from "./matrix/server_discovery.ts";
import { listen } from "./listen.ts";
import { AddressGuard } from "./net/address_guard.ts";
import { type Connectors, type HostResolver, OutboundClient } from "./net/client.ts";
import { resolveSrv, type SrvResolver } from "./net/srv.ts";
import type { Log } from "./ops/log.ts";

/** What touches the world. Tests replace some of it; {@link productionDeps} is the rest. */
export interface ServiceDeps {
  /** Wall clock, ms since the epoch. */
  readonly now: () => number;
  /** A clock that never jumps, ms. */
  readonly monotonicNow: () => number;
  readonly sleep: (durationMs: number, signal: AbortSignal) => Promise<void>;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
  /** Runs something once after a while; gives back what cancels it. */
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  readonly resolveSrv: SrvResolver;
  readonly resolveHost?: HostResolver;
  readonly connectors?: Connectors;
  readonly log: Log;
}

/** A service that listens. */
export interface Service {
  readonly address: Deno.Addr;
  /** Stops accepting, answers what is in flight, closes everything. */
  drain(): Promise<void>;
}

/** The world as it is. */
export function productionDeps(log: Log): ServiceDeps {
  return {
    now: Date.now,
    monotonicNow: () => performance.now(),
    sleep: (durationMs, signal) => sleepFor(durationMs, undefined, { signal }),
    random: Math.random,
    setTimer(run, delayMs) {
      const timer = setTimeout(run, delayMs);
      return () => clearTimeout(timer);
    },
    resolveSrv,
    log,
  };
}

/**
 * Starts a service.
 *
 * @throws When the address cannot be listened on.
 */
export async function startService(config: Config, deps: ServiceDeps): Promise<Service> {
  const guard = new AddressGuard({
    fullAccess: config.fullAccess,
    overridden: new Set(config.federationUrlOverrides.keys()),
    allowNetworks: config.federationAllowNetworks,
    tlsSkipped: config.skipTlsVerification,
  });
  const outbound = new OutboundClient({
    guard,
    verifyTls: !config.skipTlsVerification,
    proxies: config.proxies,
    ...(deps.resolveHost === undefined ? {} : { resolveHost: deps.resolveHost }),
    ...(deps.connectors === undefined ? {} : { connectors: deps.connectors }),
  });
  const ruleFor = (serverName: string) => guard.ruleFor(serverName);
  const discovery = new ServerDiscovery({ ...deps, outbound, ruleFor, overrides: config.federationUrlOverrides });
  const federation = new FederationClient({ ...deps, outbound, discovery, ruleFor });
  const signer = new AccessTokenSigner(config.apiKeys[0]);
  const roomService = new RoomService({ ...deps, apiUrl: config.sfuApiUrl, outbound, signer });
  const rooms = new Rooms({ ...deps, roomService });

  const clientDiscovery = new ClientDiscovery({ ...deps, outbound, ruleFor, overrides: config.csApiUrlOverrides });
  const delayedEvents = new DelayedEvents({ outbound, discovery: clientDiscovery });
  const manager = config.delegation
    ? new LeaveManager({
      ...deps,
      ...chooseStore(config, deps.monotonicNow, deps.log),
      sfu: roomService,
      delayedEvents,
      sweepIntervalMs: config.sanityCheckIntervalSeconds * 1000,
    })
    : null;
  const inbox = new Inbox({
    webhooks: new Webhooks({ ...deps, apiKeys: config.apiKeys }),
    listeners: [
      (event) => event.type === "room-finished" ? rooms.forget(event.room) : undefined,
      (event) => manager?.receive(event),
    ],
    log: deps.log,
  });
  await manager?.start();

  let isDraining = false;
  const app = createApp({
    exchange: {
      policy: config,
      openId: new OpenIdVerifier({ ...deps, federation }),
      rooms,
      delegations: new Delegations({
        ...deps,
        manager,
        discovery: clientDiscovery,
        delayedEvents,
        allowsRestricted: config.delegateRestricted,
      }),
      signer,
      now: deps.now,
      log: deps.log,
    },
    capacity: new Capacity(),
    log: deps.log,
    takesDelegations: manager !== null,
    onWebhook: (body, authorization) => inbox.put(body, authorization),
    isDraining: () => isDraining,
  });

  const server = await listen(config.bind, app);
  return {
    address: server.addr,
    async drain() {
      isDraining = true;
      await server.shutdown();
      await inbox.settle();
      await manager?.close();
      outbound.close();
    },
  };
}
