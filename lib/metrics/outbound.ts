// Metrics of what the service asks others: homeservers and the SFU, by purpose and by how it ended.

import { Counter, Histogram, type Registry } from "prom-client";
import type { Clock } from "../async/clock.ts";
import type { Outbound, OutboundRequest, OutboundResponse } from "../net/client.ts";
import { OutboundError } from "../net/outbound_error.ts";

const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

const PURPOSES: ReadonlyArray<readonly [end: string, purpose: string]> = [
  ["/openid/userinfo", "userinfo"],
  ["RoomService/CreateRoom", "create_room"],
  ["RoomService/GetParticipant", "get_participant"],
  ["RoomService/ListParticipants", "list_participants"],
  ["RoomService/ListRooms", "list_rooms"],
  ["/.well-known/matrix/server", "server_well_known"],
  ["/.well-known/matrix/client", "client_well_known"],
  ["/restart", "leave_restart"],
  ["/send", "leave_send"],
  ["/cancel", "leave_cancel"],
];

/** An outbound client that counts and times what goes through it. */
export class MeasuredOutbound implements Outbound {
  readonly #inner: Outbound;
  readonly #clock: Pick<Clock, "monotonicNow">;
  readonly #total: Counter<"purpose" | "outcome">;
  readonly #duration: Histogram<"purpose">;

  constructor(inner: Outbound, registry: Registry, clock: Pick<Clock, "monotonicNow">) {
    this.#inner = inner;
    this.#clock = clock;
    this.#total = new Counter({
      name: "lk_jwt_outbound_requests_total",
      help: "Requests to homeservers and the SFU, by purpose and outcome: a status class, or why there was no answer",
      labelNames: ["purpose", "outcome"],
      registers: [registry],
    });
    this.#duration = new Histogram({
      name: "lk_jwt_outbound_request_duration_seconds",
      help: "Requests to homeservers and the SFU, from the wait for a connection to the end of the answer",
      labelNames: ["purpose"],
      buckets: BUCKETS_SECONDS,
      registers: [registry],
    });
  }

  async send(request: OutboundRequest): Promise<OutboundResponse> {
    const startedAt = this.#clock.monotonicNow();
    let outcome = "bug";
    try {
      const response = await this.#inner.send(request);
      outcome = outcomeOf(response.status);
      return response;
    } catch (error) {
      if (error instanceof OutboundError) outcome = error.failure;
      throw error;
    } finally {
      const purpose = purposeOf(request.path);
      this.#total.inc({ purpose, outcome });
      this.#duration.observe({ purpose }, (this.#clock.monotonicNow() - startedAt) / 1000);
    }
  }
}

/** What a request is for, by the end of its path: one of a handful of words. */
export function purposeOf(path: string): string {
  const query = path.indexOf("?");
  const bare = query < 0 ? path : path.slice(0, query);
  // A redirect may lead to any path.
  const isLeave = bare.includes("/delayed_events/");
  return PURPOSES.find(([end, purpose]) => bare.endsWith(end) && isLeave === purpose.startsWith("leave_"))?.[1] ??
    "other";
}

function outcomeOf(status: number): string {
  if (status === 401 || status === 403 || status === 404 || status === 429) return String(status);
  return `${Math.floor(status / 100)}xx`;
}
