// The same ways in by the other door: delayed events go to the client-server API that a server's well-known document
// names, at a name that anybody may have sent.

import { PUBLIC_ADDRESS } from "../../testing/scripted_network.ts";
import { DNS_ANSWERS, INNER, type InnerTarget, IP_LITERALS, REDIRECTS } from "./inner_targets.ts";

const EVIL = { server: "evil.example", way: "delayed event" as const };

// `base_url` as the document has it; the address as it is dialled.
const BASE_URLS: [baseUrl: string, address: string, port: number, isNever?: boolean][] = [
  ["https://127.0.0.1", "127.0.0.1", 443],
  ["https://127.0.0.1:6379/", "127.0.0.1", 6379],
  ["https://10.0.0.1/matrix/", "10.0.0.1", 443],
  ["https://192.168.1.1:443", "192.168.1.1", 443],
  ["https://100.64.0.1", "100.64.0.1", 443],
  ["https://[::1]", "::1", 443],
  ["https://[::1]:22/", "::1", 22],
  ["https://[::ffff:127.0.0.1]", "::ffff:7f00:1", 443],
  ["https://[::127.0.0.1]", "::7f00:1", 443],
  ["https://[64:ff9b::10.0.0.1]", "64:ff9b::a00:1", 443],
  ["https://[2002:a00:1::]", "2002:a00:1::", 443],
  ["https://[FD00::1]", "fd00::1", 443],
  ["https://2130706433", "127.0.0.1", 443],
  ["https://0x7f000001/", "127.0.0.1", 443],
  ["https://017700000001:8443", "127.0.0.1", 8443],
  ["https://127.1", "127.0.0.1", 443],
  ["https://0x7f.1", "127.0.0.1", 443],
  ["https://192.168.257", "192.168.1.1", 443],
  ["https://user:password@10.0.0.1", "10.0.0.1", 443],
  ["https://evil.example@10.0.0.1/", "10.0.0.1", 443],
  ["https://10.0.0.1#@evil.example", "10.0.0.1", 443],
  ["https://%31%30.0.0.1", "10.0.0.1", 443],
  ["https://１２７.0.0.1", "127.0.0.1", 443],
  ["https://127。0。0。1", "127.0.0.1", 443],
  ["https:\\\\10.0.0.1", "10.0.0.1", 443],
  ["HTTPS://10.0.0.1", "10.0.0.1", 443],
  ["  https://10.0.0.1  ", "10.0.0.1", 443],
  ["https://localhost", "127.0.0.1", 443],
  ["https://LOCALHOST:8448", "127.0.0.1", 8448],
  ["https://inner.example", "10.0.0.9", 443],
  ["https://INNER.example/", "10.0.0.9", 443],
  ["https://inner.example.", "10.0.0.9", 443],
  ["https://ínner.example", "10.0.0.9", 443],
  ["https://0", "0.0.0.0", 443, true],
  ["https://[::]", "::", 443, true],
  ["https://169.254.169.254", "169.254.169.254", 443, true],
  ["https://2852039166", "169.254.169.254", 443, true],
  ["https://[::ffff:a9fe:a9fe]", "::ffff:a9fe:a9fe", 443, true],
  ["https://[fd00:ec2::254]", "fd00:ec2::254", 443, true],
  ["https://[fe80::1]", "fe80::1", 443, true],
  ["https://metadata.example", "169.254.169.254", 443, true],
  ["https://255.255.255.255", "255.255.255.255", 443, true],
  ["https://224.0.0.1", "224.0.0.1", 443, true],
  ["https://11.0.0.2:0", "11.0.0.2", 0, true],
];

const NAMES = {
  ...INNER,
  "inner.example.": [["10.0.0.9"]],
  [new URL("https://ínner.example").hostname]: [["10.0.0.9"]],
  "metadata.example": [["169.254.169.254"]],
};

// A name server that answers differently when it is asked again: by the document, and by the first call after it.
const REBINDING: InnerTarget[] = ["127.0.0.1", "10.0.0.9", "::1", "fd00::1"].map((address) => ({
  ...EVIL,
  what: "a resolver that answers differently after the well-known",
  addresses: { "evil.example": [[PUBLIC_ADDRESS], [address]] },
  baseUrl: "https://evil.example:8448",
  reaches: { address, port: 8448 },
}));

/** All ways in by which a delayed event is sent. */
export const DELAYED_EVENT_TARGETS: readonly InnerTarget[] = [
  ...IP_LITERALS.map(([server, isNever = false]) => ({
    ...EVIL,
    what: "an IP literal",
    server,
    reaches: { address: new URL(`https://${server}`).hostname.replace(/[[\]]/g, ""), port: 443 },
    isNever,
  })),
  ...DNS_ANSWERS.flatMap(([address, isNever = false]) => [
    {
      ...EVIL,
      what: `a name at ${address}`,
      addresses: { "evil.example": [[address]] },
      reaches: { address, port: 443 },
      isNever,
    },
    {
      ...EVIL,
      what: `a name at ${address}, asked at its own port`,
      server: "evil.example:8448",
      addresses: { "evil.example": [[PUBLIC_ADDRESS], [address]] },
      reaches: { address, port: 8448 },
      isNever,
    },
  ]),
  ...[0, 3].flatMap((hops) =>
    REDIRECTS.map(([redirect, address, port, isNever = false]) => ({
      ...EVIL,
      what: `a redirect to ${redirect} after ${hops} others`,
      addresses: INNER,
      redirect,
      hops,
      reaches: { address, port },
      isNever,
    }))
  ),
  ...BASE_URLS.map(([baseUrl, address, port, isNever = false]) => ({
    ...EVIL,
    what: `base_url ${baseUrl}`,
    addresses: NAMES,
    baseUrl,
    reaches: { address, port },
    isNever,
  })),
  ...REBINDING,
];
