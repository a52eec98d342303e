// The start: what is printed, what stops it, and what does not.

import assert from "node:assert/strict";
import { freePort, ServiceProcess } from "../../testing/service_process.ts";
import { requestGrant, Surroundings, TemporaryDirectory } from "../../testing/surroundings.ts";

const SECRET = "a secret of at least 32 characters";
const LEAST = {
  LIVEKIT_URL: "wss://sfu.example.com/livekit/sfu",
  LIVEKIT_KEY: "devkey",
  LIVEKIT_SECRET: SECRET,
  LIVEKIT_JWT_BIND: "127.0.0.1:0",
};

Deno.test("the start prints each warning, the effective configuration and the address, and no secret", async () => {
  await using service = await ServiceProcess.start({
    ...LEAST,
    LIVEKIT_SECRET: "sikrit",
    LIVEKIT_INTERNAL_URL: "http://user:sikrit@127.0.0.1:9",
    LIVEKIT_LOG_LEVEL: "debug",
    LK_JWT_BIND: ":8080",
  });
  const lines = service.output.trimEnd().split("\n");
  for (const line of lines) assert.match(line, /^\d{4}-\d\d-\d\dT[\d:.]+Z (WARNING|INFO {3}) \S/);
  assert.match(service.output, /WARNING LK_JWT_BIND is not a variable .* did you mean LIVEKIT_JWT_BIND\?\n/);
  assert.match(service.output, /WARNING LIVEKIT_FULL_ACCESS_HOMESERVERS is not set/);
  assert.match(service.output, /WARNING The secret of API key "devkey" has under 32 characters/);
  assert.match(
    service.output,
    /INFO +lk-jwt-service \d+\.\d+\.\d+ .*livekit_url=wss:\/\/sfu.example.com\/livekit\/sfu sfu_api=http:\/\/127.0.0.1:9\/ api_keys=\["devkey"\] .*full_access=\*/,
  );
  assert.match(lines.at(-1) ?? "", /INFO +Listening on 127\.0\.0\.1:[1-9]\d*$/);
  assert.doesNotMatch(service.output, /sikrit/);
});

Deno.test("with LIVEKIT_LOG_FORMAT=json every line is one object", async () => {
  await using service = await ServiceProcess.start({ ...LEAST, LIVEKIT_LOG_FORMAT: "json" });
  for (const line of service.output.trimEnd().split("\n")) {
    const record = JSON.parse(line);
    assert.ok(typeof record.message === "string" && typeof record.level === "string", line);
  }
});

const WRONG = {
  LIVEKIT_SECRET_FROM_FILE: "/no/such/file",
  LIVEKIT_JWT_BIND: ":8080",
  LIVEKIT_JWT_PORT: "8080",
  LIVEKIT_REDIS_URL: "http://user:sikrit@redis",
  LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
  LIVEKIT_API_KEY: "devkey",
  LIVEKIT_AS_TOKEN: "sikrit",
};

Deno.test("a wrong configuration ends with exit code 1 and one line per problem and hint, without a stack trace", async () => {
  await using service = ServiceProcess.spawn(WRONG);
  assert.equal(await service.exitCode(), 1);
  const lines = service.output.trimEnd().split("\n");
  assert.deepEqual(
    lines.map((line) => /^\S+Z (WARNING|ERROR {2}) LIVEKIT_[A-Z_]+ .*(expected|effect)/.exec(line)?.[1]),
    [
      ...Array(2).fill("WARNING"),
      ...Array(5).fill("ERROR  "),
    ],
  );
  assert.match(service.output, /LIVEKIT_API_KEY is not a variable .* did you mean LIVEKIT_KEY\?\n/);
  assert.match(service.output, /LIVEKIT_AS_TOKEN has no effect: .* not supported in this version\n/);
  assert.doesNotMatch(service.output, /sikrit|\n +at /);
});

Deno.test("with LIVEKIT_LOG_FORMAT=json each problem of the configuration is one object", async () => {
  await using service = ServiceProcess.spawn({ ...WRONG, LIVEKIT_LOG_FORMAT: "json" });
  assert.equal(await service.exitCode(), 1);
  const records = service.output.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(records.map(({ level }) => level), [...Array(2).fill("WARN"), ...Array(5).fill("ERROR")]);
  for (const { message } of records) assert.match(message, /^LIVEKIT_/);
});

Deno.test("an env file of Windows, with a byte order mark and its line ends, starts the service", async () => {
  const text = Object.entries({ ...LEAST, LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com" })
    .map(([name, value]) => `${name}=${value}\r\n`).join("");
  const variables = `\ufeff${text}`.split("\n").flatMap((line) => {
    const [, name, value] = /^([^=]+)=([^]*)$/.exec(line) ?? [];
    return name === undefined ? [] : [[name, value ?? ""]];
  });
  await using service = await ServiceProcess.start(Object.fromEntries(variables));
  assert.match(service.output, / livekit_url=wss:\/\/sfu.example.com\/livekit\/sfu /);
});

Deno.test("a port that is taken ends with exit code 1 and one line that names it", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const bind = `127.0.0.1:${taken.addr.port}`;
  await using service = ServiceProcess.spawn({ ...LEAST, LIVEKIT_JWT_BIND: bind });
  assert.equal(await service.exitCode(), 1);
  const errors = service.output.split("\n").filter((line) => line.includes(" ERROR "));
  assert.equal(errors.length, 1);
  assert.match(errors[0] ?? "", new RegExp(`Cannot start: .*in use.* bind=${bind.replaceAll(".", "\\.")}`));
  assert.doesNotMatch(service.output, /\n +at /);
});

Deno.test("a file that is no socket is not removed for a unix bind", async () => {
  await using directory = new TemporaryDirectory();
  const path = `${directory.path}/precious`;
  await Deno.writeTextFile(path, "precious");
  await using service = ServiceProcess.spawn({ ...LEAST, LIVEKIT_JWT_BIND: `unix:${path}` });
  assert.equal(await service.exitCode(), 1);
  assert.match(service.output, /ERROR +Cannot start: .*\n$/);
  assert.equal(await Deno.readTextFile(path), "precious");
});

Deno.test("neither a homeserver nor an SFU needs to be up at the start, and both are found once they are", async () => {
  await using around = await Surroundings.start();
  const sfuPort = freePort();
  await using service = await ServiceProcess.start({
    ...around.variables,
    LIVEKIT_FULL_ACCESS_HOMESERVERS: `${around.homeserver.serverName},127.0.0.1:${freePort()}`,
    LIVEKIT_INTERNAL_URL: `http://127.0.0.1:${sfuPort}`,
  });
  const token = around.homeserver.mintOpenIdToken("alice");
  const early = await requestGrant(service, token);
  assert.deepEqual([early.status, (await early.json()).error], [500, "Unable to create room on SFU"]);
  await service.waitFor(/failure=connect/);

  const room = () => new Response(null, { headers: { "content-type": "application/protobuf" } });
  await using _sfu = Deno.serve({ hostname: "127.0.0.1", port: sfuPort, onListen() {} }, room);
  const late = await requestGrant(service, token);
  assert.equal(late.status, 200);
  await late.body?.cancel();
});
