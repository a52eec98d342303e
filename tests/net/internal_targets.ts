// Server names that anybody may send, and networks that anybody may run, all of which end at an internal address: the
// ways in that the address guard has to close. One row per way, and per kind of address or spelling by one way each.

import type { SrvRecord } from "../../lib/net/srv.ts";
import { PUBLIC_ADDRESS } from "../../testing/scripted_network.ts";

/** One way in. */
export interface InternalTarget {
  readonly what: string;
  /** The server name that a client sends. */
  readonly server: string;
  /** What is done with the name: a token is verified, or a delayed event is sent to its client-server API. */
  readonly by?: "token" | "delayed event";
  /** DNS answers by name, one after the other. */
  readonly addresses?: Record<string, string[][]>;
  readonly srv?: Record<string, SrvRecord[]>;
  /** `m.server` of the well-known document at the server name. */
  readonly delegate?: string;
  /** Where the well-known documents of the server name redirect to. */
  readonly redirect?: string;
  /** Redirects at the server name itself before that one. */
  readonly hops?: number;
  /** `base_url` of the client well-known document at the server name. */
  readonly baseUrl?: string;
  /** What is dialed when nothing stops it. */
  readonly reaches: { readonly address: string; readonly port: number };
  /** True when no configuration but the operator's own address may go there. */
  readonly isNever?: boolean;
  /** True when it is not the asked name itself that is inside: closed under `*` as well. */
  readonly isBeyond?: boolean;
}

function at(address: string, port: number): InternalTarget["reaches"] {
  return { address, port };
}

function srv(target: string, port = 8448, priority = 10): SrvRecord {
  return { target, port, priority, weight: 0 };
}

// Every class of address has its rows in address_guard_test.ts; here is one of each form.
const LITERALS: [server: string, address: string, isNever?: boolean][] = [
  ["10.0.0.1", "10.0.0.1"],
  ["[::1]", "::1"],
  ["[0:0:0:0:0:FFFF:10.0.0.1]", "0:0:0:0:0:FFFF:10.0.0.1"],
  ["[::7f00:1]", "::7f00:1"],
  ["[64:ff9b::192.168.0.1]", "64:ff9b::192.168.0.1"],
  ["[64:ff9b:1::8.8.8.8]", "64:ff9b:1::8.8.8.8"],
  ["[2002:7f00:1::1]", "2002:7f00:1::1"],
  ["[fd12:3456:789a::1]", "fd12:3456:789a::1"],
  ["169.254.169.254", "169.254.169.254", true],
  ["[::ffff:169.254.169.254]", "::ffff:169.254.169.254", true],
  ["[fd00:ec2::254]", "fd00:ec2::254", true],
  ["0.0.0.0", "0.0.0.0", true],
  // Not written as an address, and yet one.
  ["10.0.0.1.", "10.0.0.1"],
  ["2130706433", "127.0.0.1"],
  ["0X7F000001", "127.0.0.1"],
  ["0177.0.0.1", "127.0.0.1"],
  ["0x7f.1", "127.0.0.1"],
  ["192.168.257", "192.168.1.1"],
  ["LOCALHOST", "127.0.0.1"],
  ["0", "0.0.0.0", true],
  ["2852039166", "169.254.169.254", true],
];

// What a name server may say.
const DNS_ANSWERS: [address: string, isNever?: boolean][] = [
  ["10.1.2.3"],
  ["::1"],
  ["::1%lo"],
  ["::ffff:127.0.0.1"],
  ["fd00::1"],
  ["169.254.169.254", true],
  ["fe80::1%eth0", true],
];

const INSIDE = { "inside.example": [["10.0.0.9"]] };
const EVIL = { server: "evil.example", isBeyond: true };
const SRV_NAME = "_matrix-fed._tcp.evil.example";

// What a web server may say: each for both well-known documents.
const REDIRECTS: InternalTarget[] = ([
  ["https://10.0.0.1:6379/", "10.0.0.1", 6379],
  ["https://[::ffff:127.0.0.1]/", "::ffff:7f00:1", 443],
  ["https://2130706433/", "127.0.0.1", 443],
  ["https://user:password@10.0.0.1/", "10.0.0.1", 443],
  ["https://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1/", "127.0.0.1", 443],
  ["//inside.example:8443/", "10.0.0.9", 8443],
  ["https://169.254.169.254/latest/meta-data/", "169.254.169.254", 443, true],
] satisfies [string, string, number, boolean?][]).flatMap(([redirect, address, port, isNever = false]) =>
  (["token", "delayed event"] as const).map((by) => ({
    ...EVIL,
    by,
    what: `a redirect to ${redirect}`,
    addresses: INSIDE,
    redirect,
    reaches: at(address, port),
    isNever,
  }))
);

const DELEGATIONS: InternalTarget[] = [
  { what: "well-known to an address", delegate: "10.0.0.1", reaches: at("10.0.0.1", 8448) },
  { what: "well-known to IPv6 and a port", delegate: "[::1]:22", reaches: at("::1", 22) },
  { what: "well-known to a number", delegate: "2130706433:22", reaches: at("127.0.0.1", 22) },
  { what: "well-known to localhost", delegate: "localhost:22", reaches: at("127.0.0.1", 22) },
  {
    what: "well-known to a name inside",
    delegate: "inside.example",
    addresses: INSIDE,
    reaches: at("10.0.0.9", 8448),
  },
  {
    what: "well-known to a name with SRV inside",
    delegate: "b.example",
    addresses: INSIDE,
    srv: { "_matrix-fed._tcp.b.example": [srv("inside.example.", 5)] },
    reaches: at("10.0.0.9", 5),
  },
  {
    what: "well-known to the metadata service",
    delegate: "169.254.169.254:80",
    reaches: at("169.254.169.254", 80),
    isNever: true,
  },
  {
    what: "SRV to a name inside",
    addresses: INSIDE,
    srv: { [SRV_NAME]: [srv("inside.example.", 5)] },
    reaches: at("10.0.0.9", 5),
  },
  {
    what: "the deprecated SRV to a name inside",
    addresses: INSIDE,
    srv: { "_matrix._tcp.evil.example": [srv("inside.example.", 5)] },
    reaches: at("10.0.0.9", 5),
  },
  { what: "SRV to an address", srv: { [SRV_NAME]: [srv("127.0.0.1")] }, reaches: at("127.0.0.1", 8448) },
  {
    what: "the second SRV target inside",
    addresses: { ...INSIDE, "dead.example": [["11.0.0.2"]] },
    srv: { [SRV_NAME]: [srv("inside.example.", 5, 2), srv("dead.example.", 5, 1)] },
    reaches: at("10.0.0.9", 5),
  },
  {
    what: "SRV to the metadata service",
    srv: { [SRV_NAME]: [srv("169.254.169.254.", 80)] },
    reaches: at("169.254.169.254", 80),
    isNever: true,
  },
  { what: "a redirect after three others", redirect: "https://10.0.0.1/", hops: 3, reaches: at("10.0.0.1", 443) },
].map((target) => ({ ...EVIL, ...target }));

const BASE_URLS: InternalTarget[] = ([
  ["https://10.0.0.1:6379/matrix/", "10.0.0.1", 6379],
  ["https://[::ffff:127.0.0.1]", "::ffff:7f00:1", 443],
  ["https://017700000001:8443", "127.0.0.1", 8443],
  ["https://evil.example@10.0.0.1/", "10.0.0.1", 443],
  ["https://127。0。0。1", "127.0.0.1", 443],
  ["https:\\\\10.0.0.1", "10.0.0.1", 443],
  ["https://LOCALHOST:8448", "127.0.0.1", 8448],
  ["https://inside.example", "10.0.0.9", 443],
  ["https://INSIDE.example./", "10.0.0.9", 443],
  ["https://2852039166", "169.254.169.254", 443, true],
  ["https://11.0.0.2:0", "11.0.0.2", 0, true],
] satisfies [string, string, number, boolean?][]).map(([baseUrl, address, port, isNever = false]) => ({
  ...EVIL,
  by: "delayed event",
  what: `base_url ${baseUrl}`,
  addresses: { ...INSIDE, "inside.example.": [["10.0.0.9"]] },
  baseUrl,
  reaches: at(address, port),
  isNever,
}));

// A name server that answers differently when it is asked again.
const REBINDING: InternalTarget[] = [
  {
    what: "the name itself, once its web server has been asked",
    server: "evil.example",
    addresses: { "evil.example": [[PUBLIC_ADDRESS], ["127.0.0.1"]] },
    reaches: at("127.0.0.1", 8448),
  },
  {
    what: "the name of the base_url",
    by: "delayed event",
    server: "evil.example",
    addresses: { "evil.example": [[PUBLIC_ADDRESS], ["fd00::1"]] },
    baseUrl: "https://evil.example:8448",
    reaches: at("fd00::1", 8448),
  },
];

// DNS knows neither case nor the dot at the end, and a name with a port is another name: none of these is the name that
// the operator listed.
const OTHER_SPELLINGS: InternalTarget[] = ["LISTED.example", "listed.example.", "sub.listed.example"].map((name) => ({
  what: "not the listed name",
  server: name,
  addresses: { [name]: [["10.0.0.9"]] },
  reaches: at("10.0.0.9", 8448),
}));

/** All ways in. */
export const INTERNAL_TARGETS: readonly InternalTarget[] = [
  ...LITERALS.map(([name, address, isNever = false]) => ({
    what: "an address as name",
    server: `${name}:8448`,
    reaches: at(address, 8448),
    isNever,
  })),
  {
    what: "an address as name",
    by: "delayed event",
    server: "10.0.0.1",
    reaches: at("10.0.0.1", 443),
  },
  ...DNS_ANSWERS.map(([address, isNever = false]) => ({
    what: `a name at ${address}`,
    server: "evil.example:8448",
    addresses: { "evil.example": [[address]] },
    reaches: at(address, 8448),
    isNever,
  })),
  {
    what: "a name at a public address and one inside",
    server: "evil.example:8448",
    addresses: { "evil.example": [[PUBLIC_ADDRESS, "10.0.0.9"]] },
    reaches: at("10.0.0.9", 8448),
  },
  {
    what: "a name inside whose web server is asked first",
    server: "evil.example",
    addresses: { "evil.example": [["10.0.0.9"]] },
    reaches: at("10.0.0.9", 443),
  },
  {
    what: "a name inside whose web server is asked",
    by: "delayed event",
    server: "evil.example",
    addresses: { "evil.example": [["10.0.0.9"]] },
    reaches: at("10.0.0.9", 443),
  },
  ...REDIRECTS,
  ...DELEGATIONS,
  ...BASE_URLS,
  ...REBINDING,
  ...OTHER_SPELLINGS,
  {
    what: "the listed name with a port is another one",
    server: "listed.example:22",
    addresses: { "listed.example": [["127.0.0.1"]] },
    reaches: at("127.0.0.1", 22),
  },
  {
    what: "port 0",
    server: "evil.example:0",
    addresses: { "evil.example": [[PUBLIC_ADDRESS]] },
    reaches: at(PUBLIC_ADDRESS, 0),
    isNever: true,
  },
  { what: "port 0 of an address", server: "11.0.0.2:0", reaches: at("11.0.0.2", 0), isNever: true },
];
