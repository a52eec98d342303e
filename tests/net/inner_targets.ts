// Server names that anybody may send, and networks that anybody may run, all of which end at an address inside: the
// ways in that the address guard has to close.

import type { SrvRecord } from "../../lib/net/srv.ts";
import { PUBLIC_ADDRESS } from "../../testing/scripted_network.ts";

/** One way in. */
export interface InnerTarget {
  readonly what: string;
  /** The server name that a client sends. */
  readonly server: string;
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
  /** What is done with the name: a token is verified, or (at the client-server API) a delayed event is sent. */
  readonly way?: "token" | "delayed event";
  /** What is dialled when nothing stops it. */
  readonly reaches: { readonly address: string; readonly port: number };
  /** True when no configuration but the operator's own address may go there. */
  readonly isNever?: boolean;
}

/** Server names that are addresses. */
export const IP_LITERALS: [text: string, isNever?: boolean][] = [
  ["127.0.0.1"],
  ["127.255.255.254"],
  ["10.0.0.1"],
  ["172.16.0.1"],
  ["172.31.255.255"],
  ["192.168.1.1"],
  ["100.64.0.1"],
  ["192.0.0.8"],
  ["198.18.0.1"],
  ["203.0.113.1"],
  ["240.0.0.1"],
  ["0.0.0.0", true],
  ["0.1.2.3", true],
  ["169.254.169.254", true],
  ["224.0.0.1", true],
  ["255.255.255.255", true],
  ["[::1]"],
  ["[0:0:0:0:0:0:0:1]"],
  ["[::127.0.0.1]"],
  ["[::7f00:1]"],
  ["[::ffff:127.0.0.1]"],
  ["[::ffff:7f00:1]"],
  ["[0:0:0:0:0:FFFF:10.0.0.1]"],
  ["[::ffff:0:127.0.0.1]"],
  ["[64:ff9b::7f00:1]"],
  ["[64:ff9b::192.168.0.1]"],
  ["[64:ff9b:1::10.0.0.1]"],
  ["[2002:7f00:1::1]"],
  ["[2002:c0a8:101::1]"],
  ["[2001::1]"],
  ["[2001:db8::1]"],
  ["[fc00::1]"],
  ["[fd12:3456:789a::1]"],
  ["[fec0::1]"],
  ["[::]", true],
  ["[::ffff:169.254.169.254]", true],
  ["[64:ff9b::a9fe:a9fe]", true],
  ["[2002:a9fe:a9fe::1]", true],
  ["[fe80::1]", true],
  ["[fd00:ec2::254]", true],
  ["[ff02::1]", true],
];

// The system's resolver takes these for addresses, without asking a name server.
const NUMERIC_NAMES: [name: string, address: string, isNever?: boolean][] = [
  ["2130706433", "127.0.0.1"],
  ["0x7f000001", "127.0.0.1"],
  ["0X7F000001", "127.0.0.1"],
  ["017700000001", "127.0.0.1"],
  ["127.1", "127.0.0.1"],
  ["127.0.1", "127.0.0.1"],
  ["0177.0.0.1", "127.0.0.1"],
  ["0x7f.0.0.1", "127.0.0.1"],
  ["0x7f.1", "127.0.0.1"],
  ["10.1", "10.0.0.1"],
  ["192.168.257", "192.168.1.1"],
  ["3232235777", "192.168.1.1"],
  ["localhost", "127.0.0.1"],
  ["LOCALHOST", "127.0.0.1"],
  ["0", "0.0.0.0", true],
  ["2852039166", "169.254.169.254", true],
  ["0xa9fea9fe", "169.254.169.254", true],
  ["169.254.43518", "169.254.169.254", true],
];

/** What a name server may say. */
export const DNS_ANSWERS: [address: string, isNever?: boolean][] = [
  ["127.0.0.1"],
  ["10.1.2.3"],
  ["192.168.0.10"],
  ["100.100.100.200"],
  ["::1"],
  ["::1%lo"],
  ["::ffff:127.0.0.1"],
  ["::ffff:0:7f00:1"],
  ["::10.0.0.1"],
  ["64:ff9b::7f00:1"],
  ["2002:7f00:1::"],
  ["fd00::1"],
  ["0.0.0.0", true],
  ["169.254.169.254", true],
  ["fd00:ec2::254", true],
  ["fe80::1%eth0", true],
  ["fe80::1", true],
];

/** What a web server may say. */
export const REDIRECTS: [location: string, address: string, port: number, isNever?: boolean][] = [
  ["https://127.0.0.1/", "127.0.0.1", 443],
  ["https://127.0.0.1:6379/", "127.0.0.1", 6379],
  ["https://[::1]/", "::1", 443],
  ["https://[::ffff:127.0.0.1]/", "::ffff:7f00:1", 443],
  ["https://2130706433/", "127.0.0.1", 443],
  ["https://0x7f.1/", "127.0.0.1", 443],
  ["https://user:password@10.0.0.1/", "10.0.0.1", 443],
  ["https://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1/", "127.0.0.1", 443],
  ["https://localhost/", "127.0.0.1", 443],
  ["https://inner.example/", "10.0.0.9", 443],
  ["//inner.example:8443/", "10.0.0.9", 8443],
  ["https://169.254.169.254/latest/meta-data/", "169.254.169.254", 443, true],
];

function srv(target: string, port = 8448, priority = 10): SrvRecord {
  return { target, port, priority, weight: 0 };
}

const SRV_NAME = "_matrix-fed._tcp.evil.example";
/** A name that is inside. */
export const INNER = { "inner.example": [["10.0.0.9"]] };

const DELEGATIONS: InnerTarget[] = [
  { what: "well-known to an address", delegate: "10.0.0.1", reaches: { address: "10.0.0.1", port: 8448 } },
  { what: "well-known to a port inside", delegate: "127.0.0.1:6379", reaches: { address: "127.0.0.1", port: 6379 } },
  { what: "well-known to IPv6", delegate: "[::1]:22", reaches: { address: "::1", port: 22 } },
  { what: "well-known to mapped IPv4", delegate: "[::ffff:a00:1]", reaches: { address: "::ffff:a00:1", port: 8448 } },
  { what: "well-known to a number", delegate: "2130706433:22", reaches: { address: "127.0.0.1", port: 22 } },
  { what: "well-known to localhost", delegate: "localhost:22", reaches: { address: "127.0.0.1", port: 22 } },
  {
    what: "well-known to a name inside",
    delegate: "inner.example",
    addresses: INNER,
    reaches: { address: "10.0.0.9", port: 8448 },
  },
  {
    what: "well-known to a name with SRV inside",
    delegate: "b.example",
    addresses: INNER,
    srv: { "_matrix-fed._tcp.b.example": [srv("inner.example.", 5)] },
    reaches: { address: "10.0.0.9", port: 5 },
  },
  {
    what: "well-known to the metadata service",
    delegate: "169.254.169.254:80",
    reaches: { address: "169.254.169.254", port: 80 },
    isNever: true,
  },
  {
    what: "SRV to a name inside",
    addresses: INNER,
    srv: { [SRV_NAME]: [srv("inner.example.", 5)] },
    reaches: { address: "10.0.0.9", port: 5 },
  },
  {
    what: "the deprecated SRV to a name inside",
    addresses: INNER,
    srv: { "_matrix._tcp.evil.example": [srv("inner.example.", 5)] },
    reaches: { address: "10.0.0.9", port: 5 },
  },
  { what: "SRV to an address", srv: { [SRV_NAME]: [srv("127.0.0.1")] }, reaches: { address: "127.0.0.1", port: 8448 } },
  {
    what: "SRV to localhost",
    srv: { [SRV_NAME]: [srv("localhost.")] },
    reaches: { address: "127.0.0.1", port: 8448 },
  },
  {
    what: "SRV to the metadata service",
    srv: { [SRV_NAME]: [srv("169.254.169.254.", 80)] },
    reaches: { address: "169.254.169.254", port: 80 },
    isNever: true,
  },
  {
    what: "the second SRV target inside",
    addresses: { ...INNER, "dead.example": [["11.0.0.2"]] },
    srv: { [SRV_NAME]: [srv("inner.example.", 5, 2), srv("dead.example.", 5, 1)] },
    reaches: { address: "10.0.0.9", port: 5 },
  },
  {
    what: "a resolver that answers differently the second time",
    addresses: { "evil.example": [[PUBLIC_ADDRESS], ["127.0.0.1"]] },
    reaches: { address: "127.0.0.1", port: 8448 },
  },
  {
    what: "a resolver that answers differently after the well-known",
    delegate: "b.example:8448",
    addresses: { "b.example": [["127.0.0.1"]] },
    reaches: { address: "127.0.0.1", port: 8448 },
  },
  {
    what: "a name inside whose web server is asked first",
    addresses: { "evil.example": [["10.0.0.9"]] },
    reaches: { address: "10.0.0.9", port: 443 },
  },
].map((target) => ({ server: "evil.example", ...target }));

// DNS knows neither case nor the dot at the end, and a name with a port is another name: none of these is the name that
// the operator listed.
const OTHER_SPELLINGS: InnerTarget[] = [
  "LISTED.example",
  "Listed.Example",
  "listed.example.",
  "listed.example..",
  "sub.listed.example",
].flatMap((name) => [
  { what: "not the listed name", server: name, addresses: { [name]: [["10.0.0.9"]] }, reaches: at("10.0.0.9", 8448) },
  {
    what: "not the listed name, with a port",
    server: `${name}:22`,
    addresses: { [name]: [["10.0.0.9"]] },
    reaches: at("10.0.0.9", 22),
  },
]);

const LISTED_WITH_PORT: InnerTarget = {
  what: "the listed name with a port is another one",
  server: "listed.example:22",
  addresses: { "listed.example": [["127.0.0.1"]] },
  reaches: at("127.0.0.1", 22),
};

function at(address: string, port: number): InnerTarget["reaches"] {
  return { address, port };
}

const PORT_ZERO: InnerTarget[] = [
  {
    what: "port 0",
    server: "evil.example:0",
    addresses: { "evil.example": [[PUBLIC_ADDRESS]] },
    reaches: { address: PUBLIC_ADDRESS, port: 0 },
    isNever: true,
  },
  { what: "port 0 of an address", server: "11.0.0.2:0", reaches: { address: "11.0.0.2", port: 0 }, isNever: true },
];

/** All ways in by which a token is verified. */
export const TOKEN_TARGETS: readonly InnerTarget[] = [
  ...IP_LITERALS.map(([server, isNever = false]) => ({
    what: "an IP literal",
    server,
    reaches: { address: server.replace(/[[\]]/g, ""), port: 8448 },
    isNever,
  })),
  ...NUMERIC_NAMES.flatMap(([name, address, isNever = false]) => [
    { what: "a number as name", server: `${name}:8448`, reaches: { address, port: 8448 }, isNever },
    { what: "a number as name, well-known first", server: name, reaches: { address, port: 443 }, isNever },
  ]),
  ...DNS_ANSWERS.flatMap(([address, isNever = false]) => [
    {
      what: `a name at ${address}`,
      server: "evil.example:8448",
      addresses: { "evil.example": [[address]] },
      reaches: { address, port: 8448 },
      isNever,
    },
    {
      what: `a name at ${address} and a public address`,
      server: "evil.example:8448",
      addresses: { "evil.example": [[PUBLIC_ADDRESS, address]] },
      reaches: { address, port: 8448 },
      isNever,
    },
  ]),
  ...REDIRECTS.map(([redirect, address, port, isNever = false]) => ({
    what: `a redirect to ${redirect}`,
    server: "evil.example",
    addresses: INNER,
    redirect,
    reaches: { address, port },
    isNever,
  })),
  ...DELEGATIONS,
  ...OTHER_SPELLINGS,
  LISTED_WITH_PORT,
  ...PORT_ZERO,
];
