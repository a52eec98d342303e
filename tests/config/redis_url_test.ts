// The forms of LIVEKIT_REDIS_URL, and that nothing of a wrong one is ever shown.

import assert from "node:assert/strict";
import fc from "fast-check";
import { parseRedisUrl } from "../../lib/redis/url.ts";
import { Secret } from "../../lib/secret.ts";

function parse(url: string, password?: string) {
  return parseRedisUrl(new Secret(url), password === undefined ? null : new Secret(password));
}

const GOOD: readonly [string, Record<string, unknown>, string][] = [
  ["redis://localhost", { host: "localhost", port: 6379, db: 0 }, "Redis at localhost:6379"],
  ["redis://10.0.0.1:7000/3", { host: "10.0.0.1", port: 7000, db: 3 }, "Redis at 10.0.0.1:7000, database 3"],
  ["redis://", { host: "localhost", port: 6379, db: 0 }, "Redis at localhost:6379"],
  ["redis://redis/", { host: "redis", port: 6379, db: 0 }, "Redis at redis:6379"],
  ["REDIS://h?db=4&dial_timeout=5s", { host: "h", port: 6379, db: 4 }, "Redis at h:6379, database 4"],
  ["redis://[::1]:6380", { host: "::1", port: 6380, db: 0 }, "Redis at [::1]:6380"],
  ["redis://u:p%40s%2Fs@h", { host: "h", port: 6379, username: "u", password: "p@s/s", db: 0 }, "Redis at h:6379"],
  ["redis://:p@ss:word@h", { host: "h", port: 6379, password: "p@ss:word", db: 0 }, "Redis at h:6379"],
  ["redis://u@h", { host: "h", port: 6379, username: "u", db: 0 }, "Redis at h:6379"],
  ["rediss://h:6380/1", { host: "h", port: 6380, tls: {}, db: 1 }, "Redis at h:6380, database 1"],
  ["unix:/run/redis.sock", { path: "/run/redis.sock", db: 0 }, "Redis at /run/redis.sock"],
  ["unix:///run/redis.sock?db=2", { path: "/run/redis.sock", db: 2 }, "Redis at /run/redis.sock, database 2"],
  ["unix://u:p@/run/r.sock", { path: "/run/r.sock", username: "u", password: "p", db: 0 }, "Redis at /run/r.sock"],
  [
    "redis+sentinel://a,b:1234,[::1]:5/my%20master/2",
    {
      sentinels: [{ host: "a", port: 26379 }, { host: "b", port: 1234 }, { host: "::1", port: 5 }],
      name: "my master",
      db: 2,
    },
    "Redis at my master, by the Sentinels a:26379, b:1234, [::1]:5, database 2",
  ],
  [
    "redis+sentinel://u:p@a/m?sentinel_username=s&sentinel_password=t",
    {
      sentinels: [{ host: "a", port: 26379 }],
      name: "m",
      username: "u",
      password: "p",
      sentinelUsername: "s",
      sentinelPassword: "t",
      db: 0,
    },
    "Redis at m, by the Sentinels a:26379",
  ],
];

for (const [url, options, description] of GOOD) {
  Deno.test(`"${url}" is ${description}`, () => {
    const target = parse(url);
    assert.ok("options" in target);
    assert.deepEqual(target.options, options);
    assert.equal(target.description, description);
    assert.equal(target.isSentinel, "sentinels" in options);
  });
}

const BAD: readonly [string, RegExp][] = [
  ["", /no Redis URL|not a Redis URL/],
  ["http://h", /not a Redis URL/],
  ["redis:h", /not a Redis URL/],
  ["redis://h:0", /port outside/],
  ["redis://h:65536", /port outside/],
  ["redis://h:port", /host or port/],
  ["redis://h h", /host or port/],
  ["redis://:sec#ret@h", /not a Redis URL/],
  ["redis://:sec/ret@h", /host or port/],
  ["redis://:sec%ret@h", /begins no escape/],
  ["redis://h/one", /database/],
  ["redis://h/1/2", /database/],
  ["redis://h/99999", /database/],
  ["unix:", /not a Redis URL/],
  ["unix:relative", /not a Redis URL/],
  ["redis+sentinel://a", /no master/],
  ["redis+sentinel://a,/m", /without a host/],
  ["redis+sentinel://a/m/0/x", /too many parts/],
];

for (const [url, problem] of BAD) {
  Deno.test(`"${url}" is refused, and not shown`, () => {
    const parsed = parse(url);
    assert.ok("problem" in parsed);
    assert.match(parsed.problem, problem);
    assert.ok(!/sec|ret/.test(parsed.problem));
  });
}

Deno.test("the password of its own variable is for URLs without one", () => {
  const options = (url: string) => {
    const target = parse(url, "own");
    return "options" in target ? target.options.password : undefined;
  };
  assert.equal(options("redis://h"), "own");
  assert.equal(options("redis://u@h"), "own");
  assert.equal(options("redis://u:@h"), "own");
  assert.equal(options("redis://u:given@h"), "given");
});

Deno.test("no text makes the parser throw or tell what it was given", () => {
  const piece = fc.oneof(fc.constantFrom(..."/:@?#%[],.=&".split(""), "redis://", "unix:/", "db"), fc.string());
  fc.assert(fc.property(fc.array(piece, { maxLength: 8 }), fc.uuid(), (pieces, password) => {
    const text = ["redis://user:", password, ...pieces].join("");
    const parsed = parse(text);
    if ("problem" in parsed) assert.ok(!JSON.stringify(parsed).includes(password.slice(0, 8)));
    // Unless the password does not stand where a password stands.
    else if (text.includes("@")) assert.ok(!parsed.description.includes(password));
  }));
});
