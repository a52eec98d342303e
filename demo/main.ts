// `deno task demo`: the main job on loopback, with nothing to install and no environment. Plays a full exchange, a
// restricted one and an impostor's, shows each step by step, then stays up for curl. `--once` ends after the exchanges,
// with exit code 0 only if all came out right.

import { castRole, play, type Scene } from "./scene.ts";
import { buildStage, type Stage } from "./stage.ts";

const ROOM = "!demo:localhost";

await using stage = await buildStage();
console.log(`\nThe MatrixRTC Authorization Service, on loopback

  service                 ${stage.serviceUrl}
  own homeserver          ${stage.local.serverName} (full access)
  somebody else's         ${stage.federated.serverName} (restricted access)
  SFU stand-in            ${stage.sfu?.url}
`);

const local = await play("local", ROOM, stage);
const federated = await play("federated", ROOM, stage);
const alone = await play("federated", "!nobody-has-begun:localhost", stage);
const impostor = await play("impostor", ROOM, stage);
tell("1. A user of the own homeserver begins a call", local);
tell("2. A user of another homeserver joins it", federated);
tell("3. The same user, where no call was begun", alone);
tell("4. A homeserver that claims somebody else's user", impostor);

const isRight = local.canJoin === true && federated.canJoin === true && alone.canJoin === false &&
  impostor.status === 401;
console.log(isRight ? "All four came out right." : "Something came out wrong: see above.");

if (Deno.args.includes("--once")) Deno.exitCode = isRight ? 0 : 1;
else await stayUp(stage);

function tell(title: string, scene: Scene): void {
  console.log(`%c${title}`, "font-weight: bold");
  for (const step of scene.steps) {
    const [first = "", ...rest] = step.detail.split("\n");
    console.log(`  ${step.title.padEnd(33)} ${first}`);
    for (const line of rest) console.log(`  ${" ".repeat(33)} ${line}`);
  }
  console.log();
}

async function stayUp(stage: Stage): Promise<void> {
  const { token } = castRole("local", stage);
  const body = JSON.stringify({ room: "!curl:localhost", openid_token: token, device_id: "CURL" });
  console.log(`
The service stays up. Try (the token is good for an hour):

  curl -s ${stage.serviceUrl}/sfu/get -d '${body}'
  curl -s ${stage.serviceUrl}/sfu/get -d '{}'
  curl -si ${stage.serviceUrl}/healthz

Ctrl+C ends it.`);
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, resolve);
  await promise;
}
