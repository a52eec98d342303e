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
import { errorStack } from "./log/error_text.ts";
import type { Log } from "./log/log.ts";
import { createClients, policyOf } from "./clients.ts";
import { loadMetrics, openOperatorSide } from "./operator_side.ts";
import type { Platform } from "./platform.ts";

/** A service that listens. */
export interface Service {
  readonly address: Deno.Addr;
  /** Signs with the first of these keys and takes webhooks signed with any, from the next request on. */
  useKeys(apiKeys: Config["apiKeys"]): void;
  /**
   * Stops accepting, answers what is in flight or refuses it after 5 s, and closes everything, within 8 s whatever hangs.
   */
  drain(): Promise<void>;
}

// Container runtimes kill after 10 s, and the command line gives up after 8.
const ANSWER_WITHIN_MS = 5000;
const TAKE_ANSWERS_WITHIN_MS = 500;
const PUT_AWAY_WITHIN_MS = 6500; // from the beginning
const CLOSE_STORE_WITHIN_MS = 500;

/**
 * Starts a service.
 *
 * @throws When the address cannot be listened on.
 */
export async function startService(config: Config, platform: Platform, log: Log): Promise<Service> {
  const { clock, random } = platform;
  const homeservers = policyOf(config);
  const isNamed = (server: string) => homeservers.isNamed(server);
  // Where the operator names no server, there is none to keep permits for.
  const limits = homeservers.namesAny ? DEFAULT_LIMITS : { ...DEFAULT_LIMITS, unnamed: DEFAULT_LIMITS.total };
  const concurrency = new ConcurrencyLimit({ limits, isNamed, clock });
  const metrics = await loadMetrics(config);
  const clients = createClients(config, platform, {
    homeservers,
    isKnown: (server) => concurrency.isKnown(server),
    wrap: (outbound) => metrics?.measure(outbound, clock) ?? outbound,
  });
  const { discovery, federation, signer, roomService, clientDiscovery } = clients;
  const rooms = new Rooms({ roomService, clock });

  const delayedEvents = new DelayedEvents({ outbound: clients.outbound, discovery: clientDiscovery });
  const stored = config.delegation
    ? await chooseStore({ redis: config.redis, stateDir: config.stateDir, clock, log })
    : null;
  const manager = stored === null ? null : new LeaveManager({
    ...stored,
    clock,
    random,
    log,
    sfu: roomService,
    delayedEvents,
    pollIntervalMs: config.sanityCheckIntervalSeconds * 1000,
    onSent: (reason, afterMs) => onLeaveSent?.(reason, afterMs),
  });
  const onLeaveSent = manager === null ? null : metrics?.ofLeaves({
    counts: () => manager.counts,
    waitingCalls: () => manager.waitingCalls,
    isDurable: () => manager.isDurable,
  });
  const receiver = new WebhookReceiver({ apiKeys: config.apiKeys, clock, log });
  const webhooks = new WebhookQueue({
    receiver,
    listeners: [
      (event) => event.type === "room-finished" ? rooms.forget(event.room) : undefined,
      (event) => manager?.receive(event),
    ],
    onLost: () => manager?.eventsLost(),
    log,
  });
  await manager?.start();

  const rateLimit = await openRateLimit(config, clock, log);

  const openId = new OpenIdVerifier({
    federation,
    clock,
    onVerified: (server) => concurrency.prove(server),
  });
  metrics?.ofWebhooks(() => receiver.counts);
  metrics?.ofCaches({
    verified_tokens: () => openId.cacheCounts,
    rooms: () => rooms.cacheCounts,
    server_well_knowns: () => discovery.wellKnownCounts,
    client_apis: () => clientDiscovery.cacheCounts,
  });

  let isDraining = false;
  const cutOff = new AbortController();
  const app = createApp({
    exchange: {
      policy: config,
      homeservers,
      openId,
      rooms,
      delegations: new Delegations({
        clock,
        log,
        manager,
        discovery: clientDiscovery,
        delayedEvents,
        allowsRestricted: config.delegateRestricted,
        isListed: isNamed,
        namesServers: homeservers.namesAny,
      }),
      signer,
      clock,
    },
    concurrency,
    homeservers,
    rateLimit,
    trustedProxies: config.trustedProxies,
    clock,
    log,
    takesDelegations: manager !== null,
    judgeWebhook: (authorization) => receiver.judge(authorization),
    onWebhook: (body, claims) => webhooks.put(body, claims),
    isDraining: () => isDraining,
    cutOff: cutOff.signal,
    ...(metrics === null ? {} : { onAnswered: metrics.onAnswered }),
  });

  const jobs = () => manager?.counts ?? { waiting: 0, connected: 0, leaving: 0 };
  const listener = await Listener.open({ bind: config.bind, handler: app, clock, log });
  const closeOperatorSide = await openOperatorSide({
    config,
    clients,
    metrics,
    clock,
    log,
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
      const startedAt = clock.monotonicNow();
      const isDone = (work: Promise<unknown>, withinMs: number) => endsWithin({ clock, log }, withinMs, work);
      const answered = listener.shutdown();
      if (!await isDone(answered, ANSWER_WITHIN_MS)) {
        cutOff.abort();
        // Whoever does not take the refusal is not waited for.
        await isDone(answered, TAKE_ANSWERS_WITHIN_MS);
      }
      // A webhook that was just answered is put into its queue a turn later.
      const handedOn = new Promise<void>((resolve) => void clock.setTimer(resolve, 0));
      const putAway = handedOn.then(() => webhooks.settle()).then(() => manager?.close());
      if (!await isDone(putAway, Math.max(PUT_AWAY_WITHIN_MS - (clock.monotonicNow() - startedAt), 0))) {
        log.warning("A homeserver, the SFU or the store holds up the end: what it was asked may go unanswered");
        await isDone(Promise.resolve(stored?.store.close()), CLOSE_STORE_WITHIN_MS);
      }
      await isDone(Promise.all([rateLimit?.close(), closeOperatorSide()]), CLOSE_STORE_WITHIN_MS);
      clients.close();
    },
  };
}

/** Whether something ends in time, well or not. */
async function endsWithin(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  withinMs: number,
  work: Promise<unknown>,
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const cancel = clock.setTimer(() => resolve(false), withinMs);
  work.catch((error) => log.error("Cannot stop in good order: this is a bug", { stack: errorStack(error) }))
    .finally(() => resolve(true));
  return await promise.finally(cancel);
}

/** The library behind it is loaded where it is wanted. */
async function openRateLimit(
  { rateLimit, redis: target }: Config,
  clock: Clock,
  log: Log,
): Promise<RateLimit | null> {
  if (rateLimit === null) return null;
  const { createRateLimit } = await import("./admission/rate_limit.ts");
  if (target === null) return createRateLimit({ ...rateLimit, redis: null, clock, log });
  const { connectToRedis } = await import("./redis/client.ts");
  return createRateLimit({ ...rateLimit, redis: connectToRedis(target), clock, log });
}
