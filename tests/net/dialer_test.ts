// The dialer by itself: what it does not begin.

import assert from "node:assert/strict";
import { AddressGuard } from "../../lib/net/address_guard.ts";
import { Dialer } from "../../lib/net/dialer.ts";
import { OutboundError } from "../../lib/net/outbound_error.ts";
import { systemClock } from "../../lib/platform.ts";
import { request } from "../../testing/loopback.ts";

Deno.test("a request whose signal is aborted before its turn looks up nothing and dials nothing", async () => {
  let lookups = 0;
  const dialer = new Dialer({
    guard: new AddressGuard([]),
    verifyTls: true,
    clock: systemClock,
    resolveHost() {
      lookups++;
      return Promise.resolve(["127.0.0.1"]);
    },
    connectors: { tcp: () => assert.fail("dialed") },
  });
  const dial = dialer.dial(request(8448, { signal: AbortSignal.abort() }), null);
  await assert.rejects(dial, (error) => error instanceof OutboundError && error.failure === "timeout");
  assert.equal(lookups, 0);
});
