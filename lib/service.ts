// Builds one service out of its parts, listens, and drains. The only place where production parts are chosen.

import { ConcurrencyLimit, DEFAULT_LIMITS } from "./admission/concurrency.ts";
import type { Config } from "./config/config.ts";
import { createApp } from "./http/app.ts";
import type { RateLimit } from "./admission/rate_limit.ts";
import { Delegations } from "./leave/delegations.ts";
import { WebhookQueue } from "./livekit/webhook_queue.ts";
import { LeaveManager } from "./leave/manager.ts";
import { chooseStore } from "./leave/store/choose.ts";
import { Rooms } from "./livekit/rooms.ts";
import { WebhookReceiver } from "./livekit/webhook_receiver.ts";
import { DelayedEvents } from "./matrix/delayed_events.ts";
import { OpenIdVerifier } from "./matrix/openid.ts";
import { Listener } from "./http/listener.ts";
import type { Clock } from "./async/clock.ts";
import type { Log } from "./log/log.ts";
import { createClients, policyOf } from "./clients.ts";
import { loadMetrics, openOperatorSide } from "./operator_side.ts";
import { type Platform, systemClock, systemPlatform } from "./platform.ts";

/** The platform and the log; what it takes of a clock by its parts goes when nothing asks for it any more. */
export interface ServiceDeps extends Platform, Clock {
  readonly log: Log;
}

/** A service that listens. */
export interface Service {
  readonly address: Deno.Addr;
  /** Signs with the first of these keys and takes webhooks signed with any, from the next request on. */
  useKeys(apiKeys: Config["apiKeys"]): void;
  /** Stops accepting, answers what is in flight, closes everything. */
  drain(): Promise<void>;
}

/** The world as it is. */
export function productionDeps(log: Log): ServiceDeps {
  return { ...systemPlatform, ...systemClock, log };
}

/**
 * Starts a service.
 *
 * @throws When the address cannot be listened on.
 */
export async function startService(config: Config, deps: ServiceDeps): Promise<Service> {
  const homeservers = policyOf(config);
  const isNamed = (server: string) => homeservers.isNamed(server);
  // Where the operator names no server, there is none to keep permits for.
  const limits = homeservers.namesAny ? DEFAULT_LIMITS : { ...DEFAULT_LIMITS, unnamed: DEFAULT_LIMITS.total };
  const concurrency = new ConcurrencyLimit({ limits, isNamed, clock: deps.clock });
  const metrics = await loadMetrics(config);
  const clients = createClients(config, deps, {
    homeservers,
    isKnown: (server) => concurrency.isKnown(server),
    wrap: (outbound) => metrics?.measure(outbound, deps.clock) ?? outbound,
  });
  const { federation, signer, roomService, clientDiscovery } = clients;
  const rooms = new Rooms({ ...deps, roomService });

  const delayedEvents = new DelayedEvents({ outbound: clients.outbound, discovery: clientDiscovery });
  const manager = config.delegation
    ? new LeaveManager({
      ...deps,
      ...await chooseStore(config, deps),
      sfu: roomService,
      delayedEvents,
      pollIntervalMs: config.sanityCheckIntervalSeconds * 1000,
    })
    : null;
  const receiver = new WebhookReceiver({ apiKeys: config.apiKeys, clock: deps.clock, log: deps.log });
  const webhooks = new WebhookQueue({
    receiver,
    listeners: [
      (event) => event.type === "room-finished" ? rooms.forget(event.room) : undefined,
      (event) => manager?.receive(event),
    ],
    onLost: () => manager?.eventsLost(),
    log: deps.log,
  });
  await manager?.start();

  const rateLimit = await openRateLimit(config, deps);

  let isDraining = false;
  const app = createApp({
    exchange: {
      policy: config,
      homeservers,
      openId: new OpenIdVerifier({
        federation,
        clock: deps.clock,
        onVerified: (server) => concurrency.prove(server),
      }),
      rooms,
      delegations: new Delegations({
        ...deps,
        manager,
        discovery: clientDiscovery,
        delayedEvents,
        allowsRestricted: config.delegateRestricted,
        isListed: isNamed,
        namesServers: homeservers.namesAny,
      }),
      signer,
      clock: deps.clock,
    },
    concurrency,
    homeservers,
    rateLimit,
    trustedProxies: config.trustedProxies,
    clock: deps.clock,
    log: deps.log,
    takesDelegations: manager !== null,
    judgeWebhook: (authorization) => receiver.judge(authorization),
    onWebhook: (body, claims) => webhooks.put(body, claims),
    isDraining: () => isDraining,
    ...(metrics === null ? {} : { onAnswered: metrics.onAnswered }),
  });

  const jobs = () => manager?.counts ?? { waiting: 0, connected: 0, leaving: 0 };
  metrics?.ofWebhooks(() => receiver.counts);
  const listener = await Listener.open(config.bind, app, deps.log);
  const closeOperatorSide = await openOperatorSide({
    config,
    clients,
    metrics,
    clock: deps.clock,
    log: deps.log,
    unready: () => isDraining ? "stopping" : null,
    lastWebhookAt: () => receiver.counts.lastAcceptedAt,
    jobs,
  });
  return {
    address: listener.address,
    useKeys(apiKeys) {
      signer.use(apiKeys[0]);
      roomService.renewTokens();
      receiver.use(apiKeys);
    },
    async drain() {
      isDraining = true;
      await listener.shutdown();
      await rateLimit?.close();
      await webhooks.settle();
      await manager?.close();
      await closeOperatorSide();
      clients.close();
    },
  };
}

/** The library behind it is loaded where it is wanted. */
async function openRateLimit(
  { rateLimit, redis: target }: Config,
  { clock, log }: ServiceDeps,
): Promise<RateLimit | null> {
  if (rateLimit === null) return null;
  const { createRateLimit } = await import("./admission/rate_limit.ts");
  if (target === null) return createRateLimit({ ...rateLimit, redis: null, clock, log });
  const { connectToRedis } = await import("./redis/client.ts");
  return createRateLimit({ ...rateLimit, redis: connectToRedis(target), clock, log });
}
