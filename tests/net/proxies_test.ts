// Which request goes through which proxy: the rules of Go's net/http, by table.

import assert from "node:assert/strict";
import { Proxies } from "../../lib/net/proxies.ts";

const HTTPS_PROXY = "http://proxy.example:3128";

// NO_PROXY, then targets that are dialed directly, then some that are not.
const EXCEPTIONS: [noProxy: string, direct: string[], proxied: string[]][] = [
  ["", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"], ["server.example", "10.0.0.1", "fd00::1"]],
  ["*", ["server.example", "10.0.0.1", "fd00::1"], []],
  ["example.com", ["example.com", "EXAMPLE.com", "a.example.com", "b.a.example.com"], [
    "notexample.com",
    "example.org",
  ]],
  [".example.com", ["a.example.com", "b.a.example.com"], ["example.com", "notexample.com"]],
  ["*.example.com", ["a.example.com"], ["example.com", "notexample.com"]],
  ["example.com:443", ["example.com"], ["a.example.org"]],
  ["example.com:8448", [], ["example.com"]],
  ["10.0.0.0/8,fd00::/8", ["10.1.2.3", "fd00::1", "::ffff:10.0.0.1"], ["11.0.0.1", "fe00::1", "ten.example"]],
  ["10.0.0.1, fd00::1", ["10.0.0.1", "fd00::1"], ["10.0.0.2", "fd00::2"]],
  ["[fd00::1]:443,10.0.0.1:444", ["fd00::1"], ["10.0.0.1"]],
  [" a.example , ,b.example,", ["a.example", "b.example"], ["c.example"]],
  ["a b,\0,[,10.0.0.0/99", [], ["server.example", "10.0.0.1"]],
];

Deno.test.each(EXCEPTIONS)('NO_PROXY "%s" excepts what it names', (NO_PROXY, direct, proxied) => {
  const proxies = new Proxies({ HTTPS_PROXY, NO_PROXY });
  for (const host of direct) assert.equal(proxies.find(true, host, 443), null, host);
  for (const host of proxied) assert.equal(proxies.find(true, host, 443)?.host, "proxy.example", host);
});

Deno.test("each scheme has its own proxy, and the host of either is dialed directly", () => {
  const proxies = new Proxies({ HTTP_PROXY: "http://plain.example", HTTPS_PROXY: "https://secure.example" });
  assert.equal(proxies.find(false, "server.example", 80)?.host, "plain.example");
  assert.equal(proxies.find(true, "server.example", 443)?.host, "secure.example");
  for (const host of ["plain.example", "Secure.example"]) assert.equal(proxies.find(true, host, 443), null);
});

const URLS: [url: string, protocol: string, host: string, port: number, login: string | null][] = [
  ["http://proxy.example", "http", "proxy.example", 80, null],
  ["https://proxy.example", "https", "proxy.example", 443, null],
  ["socks5://proxy.example", "socks5", "proxy.example", 1080, null],
  ["socks5h://[2001:db8::1]:9050", "socks5", "2001:db8::1", 9050, null],
  ["socks5h://user:p%40ss@proxy.example", "socks5", "proxy.example", 1080, "user:p@ss"],
  ["http://user@proxy.example", "http", "proxy.example", 80, "user:"],
  ["http://user:50%@proxy.example", "http", "proxy.example", 80, "user:50%"],
];

Deno.test.each(URLS)("%s is a proxy", (url, protocol, host, port, login) => {
  const proxy = new Proxies({ HTTPS_PROXY: url }).find(true, "server.example", 443);
  const shown = proxy?.login == null ? null : `${proxy.login.user}:${proxy.login.password}`;
  assert.deepEqual([proxy?.protocol, proxy?.host, proxy?.port, shown], [protocol, host, port, login]);
});
