// What an operator can do when a homeserver could not be asked whose token it is, by class of failure.

import type { OutboundFailure } from "../net/outbound_error.ts";
import type { FederationOutcome } from "./federation_client.ts";

const BY_FAILURE: Readonly<Record<OutboundFailure, string>> = {
  blocked: "its address is not public: if it is yours, list it in LIVEKIT_FULL_ACCESS_HOMESERVERS, or its network in " +
    "LIVEKIT_FEDERATION_ALLOW_NETWORKS",
  dns: "its name does not resolve here, or its SRV record names no host: check both, and the resolver of this host",
  connect: "nothing accepts connections at that address and port: check the homeserver, firewalls, and where its " +
    "/.well-known/matrix/server leads; LIVEKIT_FEDERATION_URL_OVERRIDES gives another address",
  tls:
    "its certificate does not verify for that name: check its names, chain and dates; LIVEKIT_EXTRA_CA_FILE adds a " +
    "private authority",
  reset: "it, or a proxy before it, broke the connection off: look into its log",
  timeout:
    "it, or a firewall before it, did not answer in time: check that this host can reach that address and port " +
    "(hairpin NAT?); LIVEKIT_FEDERATION_URL_OVERRIDES gives an address inside",
  "too-large": "its answer is far larger than a userinfo: is something else at that address?",
  protocol: "it did not answer in HTTP: is that the port of its federation API?",
};

// Matrix server-server API, "OpenID"; what Synapse and the proxies before it do.
const BY_STATUS: Readonly<Record<number, string>> = {
  401: "the token is unknown to it or has expired: the client needs a new one",
  403:
    "it, or a proxy before it, refuses: allow federation there, at least of /_matrix/federation/v1/openid/userinfo, " +
    "and from this host",
  404: 'it has no such route there: Synapse needs the listener resource "federation" or "openid", and its proxy must ' +
    "pass /_matrix/federation/v1/openid/userinfo on",
  429: "it limits how often it is asked: allow this host more requests",
};

const OUT_OF_ORDER = "it, or a proxy before it, is out of order: start it, and look into its log";
const REDIRECT = "a proxy redirects: have it pass the request on without a redirect, after which no token is sent";
const ODD = "something else than a homeserver's federation API seems to be at that address";

/** Gives the advice for an outcome that is no user; null where the log had it a moment ago. */
export function adviceFor(result: FederationOutcome): string | null {
  if (result.outcome === "not-asked") return null;
  if (result.outcome === "no-answer") return BY_FAILURE[result.failure];
  const { status } = result.response;
  if (status >= 500) return OUT_OF_ORDER;
  return BY_STATUS[status] ?? (status >= 300 && status < 400 ? REDIRECT : ODD);
}
