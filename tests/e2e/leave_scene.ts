// What the stories of delegated leaves share: one deployment for all of them, since they take minutes and are told at
// once, and a participant who joins and hands over as Element Call does.

import type { MatrixUser } from "./stack/matrix.ts";
import { type Deployment, startDeployment } from "./stack/deployment.ts";
import { Membership, type MembershipOptions, type Seat } from "./stack/membership.ts";
import { type DelegationRoute, grantFor, handOver, type TokenRoute } from "./stack/requests.ts";
import { freeBind, type ServiceProcess, startService } from "./stack/service.ts";

/** What a leave takes that somebody is told about. */
export const PROMPTLY_MS = 5000;
/** A delay that a test can outlast. */
export const SHORT_DELAY_MS = 8000;
/** Over two restarts, and so soon after the second one that the event does not fire promptly by itself. */
export const OVER_TWO_RESTARTS_MS = 1.75 * SHORT_DELAY_MS;

const NO_LIMIT = { per_second: 1000, burst_count: 1000 };
// Of a delay ID, in the log.
const SHOWN_CHARACTERS = 8;
const WHOLE_LOG = 1_000_000;

/** A deployment with a user on either homeserver, and room for more services. */
export interface Scene extends Deployment {
  readonly alice: MatrixUser;
  /** A federated user; their homeserver limits delayed-event calls as Synapse does by default. */
  readonly bob: MatrixUser;
  /** A service that takes restricted users' events too. */
  readonly lenient: ServiceProcess;
  /** Where further services may listen: the SFU sends its webhooks there. */
  readonly binds: { readonly stopped: string; readonly killed: string; readonly replica: string };
}

/** Starts the scene. */
export async function startScene(): Promise<Scene> {
  await using started = new AsyncDisposableStack();
  const lenientBind = await freeBind();
  const binds = { stopped: await freeBind(), killed: await freeBind(), replica: await freeBind() };
  const deployment = started.use(
    await startDeployment({
      // The source address is what is limited, and all services of the scene have the same one.
      localSettings: { rc_delayed_event_mgmt: NO_LIMIT },
      furtherBinds: [lenientBind, ...Object.values(binds)],
      serviceVariables: { LIVEKIT_DELEGATION: "on" },
    }),
  );
  const { variables, local, federated } = deployment;
  const lenient = started.use(
    await startService({ ...variables, LIVEKIT_JWT_BIND: lenientBind, LIVEKIT_DELEGATE_RESTRICTED: "true" }),
  );
  const alice = await local.register("alice", "ALICEDEV");
  const bob = await federated.register("bob", "BOBDEV");
  const parts = started.move();
  return { ...deployment, alice, bob, lenient, binds, [Symbol.asyncDispose]: () => parts.disposeAsync() };
}

/** One thing that must hold, told by real parts. */
export interface Story {
  /** A sentence. */
  readonly name: string;
  readonly tell: (scene: Scene, parts: Parts) => Promise<void>;
}

/** What one story has beside the scene: ended with it. */
export class Parts implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #services: ServiceProcess[];
  readonly #delayIds: string[] = [];

  constructor({ service, lenient }: Scene) {
    this.#services = [service, lenient];
  }

  use<Part extends AsyncDisposable>(part: Part): Part {
    return this.#stack.use(part);
  }

  /** Has something done at the end. */
  defer(run: () => Promise<void>): void {
    this.#stack.defer(run);
  }

  /** Starts a service. */
  async service(variables: Readonly<Record<string, string>>): Promise<ServiceProcess> {
    const service = this.use(await startService(variables));
    this.#services.push(service);
    return service;
  }

  /** Becomes a member of a call, the leave scheduled. */
  async member(seat: Seat, options: MembershipOptions): Promise<Membership> {
    const membership = await Membership.begin(seat, options);
    this.#delayIds.push(membership.delayId);
    return membership;
  }

  /** What the services said about the story's events. */
  logs(): string {
    return this.#services.flatMap((service) => {
      const lines = service.output(WHOLE_LOG).split("\n");
      const told = lines.filter((line) =>
        this.#delayIds.some((delayId) => line.includes(delayId.slice(0, SHOWN_CHARACTERS)))
      );
      return told.length === 0 ? [] : [`${service.url} said:`, ...told];
    }).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** How somebody takes part. */
export interface AttendOptions<Client> extends MembershipOptions {
  readonly joinBy?: TokenRoute;
  readonly handOverBy?: DelegationRoute;
  /** Joins the SFU. */
  readonly join: (url: string, jwt: string) => Promise<Client>;
}

/** Somebody in a call, the leave event handed over. */
export interface Attendance<Client> {
  readonly membership: Membership;
  readonly client: Client;
}

/** Joins a call, becomes a member of it, and hands the leave over, in Element Call's order. */
export async function attend<Client extends AsyncDisposable>(
  parts: Parts,
  service: ServiceProcess,
  seat: Seat,
  { joinBy = "/sfu/get", handOverBy = "/sfu/get", join, ...options }: AttendOptions<Client>,
): Promise<Attendance<Client>> {
  const openIdToken = await seat.user.openIdToken();
  const grant = await grantFor(service, joinBy, seat, { openIdToken });
  const client = parts.use(await join(grant.url, grant.jwt));
  const membership = await parts.member(seat, options);
  await handOver(service, handOverBy, seat, { membership, openIdToken });
  return { membership, client };
}

/** A place of a user on their own device, in a room of their own unless another one is given. */
export async function seatOf(user: MatrixUser, roomId?: string): Promise<Seat> {
  return { user, roomId: roomId ?? await user.createRoom(), deviceId: user.deviceId };
}

/** Leaves on purpose. */
export async function leave(client: AsyncDisposable): Promise<void> {
  await client[Symbol.asyncDispose]();
}
