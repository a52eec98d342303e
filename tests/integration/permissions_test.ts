// What a running service can still do: read files and use the network. It runs no program, sees no variable, and writes
// nothing but the store it has open.

import assert from "node:assert/strict";
import { childrenOf, writableFiles } from "../../testing/process_view.ts";
import { ServiceProcess } from "../../testing/service_process.ts";
import { Surroundings, TemporaryDirectory } from "../../testing/surroundings.ts";

const DELAY_ID = "syd_written_after_the_permission_to_write_was_gone";

async function probe(service: ServiceProcess): Promise<Record<string, string>> {
  service.kill("SIGUSR1");
  await service.waitFor(/^probed \{.*\}$/m);
  return JSON.parse(/^probed (\{.*\})$/m.exec(service.output)?.[1] ?? "{}");
}

async function delegate(service: ServiceProcess, { homeserver }: Surroundings): Promise<void> {
  const response = await fetch(`${service.url}/delegate_delayed_leave`, {
    method: "POST",
    body: JSON.stringify({
      room_id: "!room:example.com",
      slot_id: "m.call#ROOM",
      openid_token: homeserver.mintOpenIdToken("alice"),
      member: { id: "member", claimed_user_id: `@alice:${homeserver.serverName}`, claimed_device_id: "DEVICE" },
      delay_id: DELAY_ID,
      delay_timeout: 3_600_000,
    }),
  });
  assert.deepEqual([response.status, await response.json()], [200, {}]);
}

Deno.test("a running service runs nothing, sees no variable, and writes nothing but its open store", async () => {
  await using around = await Surroundings.start();
  await using state = new TemporaryDirectory();
  const module = new URL("./running_probe.ts", import.meta.url);
  const { serverName, url } = around.homeserver;
  await using service = await ServiceProcess.start({
    ...around.variables,
    LIVEKIT_DELEGATION: "on",
    LIVEKIT_STATE_DIR: state.path,
    LIVEKIT_CS_API_URL_OVERRIDES: `${serverName}=${url.origin}`,
  }, { module });

  const outcomes = await probe(service);
  const done = Object.entries(outcomes).filter(([, outcome]) => outcome !== "NotCapable" && outcome !== "unseen");
  assert.ok(Object.keys(outcomes).length > 15);
  assert.deepEqual(done, []);

  const before = [...Deno.readDirSync(state.path)].map(({ name }) => name).sort();
  await delegate(service, around);
  const after = [...Deno.readDirSync(state.path)].map(({ name }) => name).sort();
  assert.deepEqual(after, before);
  const stored = after.map((name) => new TextDecoder("latin1").decode(Deno.readFileSync(`${state.path}/${name}`)));
  assert.ok(stored.some((bytes) => bytes.includes(DELAY_ID)), "the job is in the store");
  // From source the runtime has its module caches open; the executable has none.
  const open = writableFiles(service.pid).filter((path) => !/_cache_v\d+(-wal|-shm)?$/.test(path));
  assert.ok(open.length > 0);
  assert.deepEqual(open.filter((path) => !path.startsWith(`${state.path}/`)), []);
  assert.deepEqual(childrenOf(service.pid), []);
});
