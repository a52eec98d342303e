// `deno task demo`: the main job on loopback, with nothing to install and no environment. Plays a full exchange, two
// restricted ones, an impostor's and a delegated leave, shows each step by step, then stays up with a page and for curl. `--once` ends after
// the exchanges, with exit code 0 only if all came out right. LIVEKIT_URL, LIVEKIT_KEY and LIVEKIT_SECRET name a real
// SFU, which the page then joins.

import { randomBytes } from "node:crypto";
import { canLeave, playLeave } from "./leave_scene.ts";
import { type ServedPage, servePage } from "./page.ts";
import { play, type Scene, tokenOf } from "./scene.ts";
import { buildStage, realSfuOf, type Stage } from "./stage.ts";

const MARKS = { done: "✓", refused: "✗", skipped: "·" };
const COLOURS = { done: "color: green", refused: "color: red", skipped: "color: gray" };
const TITLE_WIDTH = 33;
const FACT_WIDTH = 20;

const ROOM = "!demo:localhost";

await using stage = await setTheStage();
// Told before anything else: whoever looks at one line looks at this one.
await using page = Deno.args.includes("--once") ? null : servePage(stage);
if (page !== null) console.log(`The page: %c${page.url}`, "font-weight: bold");
console.log(`\nThe MatrixRTC Authorization Service, on loopback

  service             ${stage.serviceUrl}
  own homeserver      ${stage.local.serverName} (full access)
  somebody else's     ${stage.federated.serverName} (restricted access)
  ${stage.sfu === null ? "SFU           " : "SFU stand-in  "}      ${stage.sfuUrl}
`);

// On an SFU that outlives the demo, a name that nobody has used.
const quietRoom = stage.sfu === null ? `!nobody-${randomBytes(4).toString("hex")}:localhost` : "!nobody:localhost";
const local = await play("local", ROOM, stage);
const federated = await play("federated", ROOM, stage);
const alone = await play("federated", quietRoom, stage);
const impostor = await play("impostor", ROOM, stage);
tell("1. A user of the own homeserver begins a call", local);
tell("2. A user of another homeserver joins it", federated);
tell("3. The same user, where no call was begun", alone);
tell("4. A homeserver that claims somebody else's user", impostor);

const left = canLeave(stage) ? await playLeave(ROOM, stage) : null;
if (left !== null) tell("5. A phone dies in the call", left);

const isRight = local.canJoin === true && federated.canJoin === true && alone.canJoin === false &&
  impostor.status === 401 && (left === null || left.verdict.kind === "left");
console.log(
  isRight ? `All ${left === null ? "four" : "five"} came out right.` : "Something came out wrong: see above.",
);
if (alone.canJoin === true) {
  console.log('The SFU makes rooms for anybody who joins: set "auto_create: false" there, or nobody is restricted.');
}

if (page === null) Deno.exitCode = isRight ? 0 : 1;
else await stayUp(stage, page);

async function setTheStage(): Promise<Stage> {
  try {
    return await buildStage(realSfuOf((name) => Deno.env.get(name)));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}

function tell(title: string, { steps, verdict, grantFacts }: Scene): void {
  console.log(`%c${title}`, "font-weight: bold");
  const facts = grantFacts.map(([name, value]) => `${name.padEnd(FACT_WIDTH)} ${value}`);
  for (const { title, kind, state, lines } of steps) {
    const [first = "", ...rest] = kind === "answer" ? [...lines, ...facts] : lines;
    console.log(
      `  %c${kind === "log" ? "·" : MARKS[state]}%c ${title.padEnd(TITLE_WIDTH)} ${first}`,
      COLOURS[kind === "log" ? "skipped" : state],
      "",
    );
    for (const line of rest) console.log(`    ${" ".repeat(TITLE_WIDTH)} ${line}`);
  }
  console.log(`  → ${verdict.text}\n`);
}

async function stayUp(stage: Stage, page: ServedPage): Promise<void> {
  const body = JSON.stringify({ room: "!curl:localhost", openid_token: tokenOf("local", stage), device_id: "CURL" });
  console.log(
    `
The service stays up. The same with a mouse or a keyboard, user and room as you like:

  %c${page.url}%c

Or try (the token is good for an hour):

  curl -s ${stage.serviceUrl}/sfu/get -d '${body}'
  curl -s ${stage.serviceUrl}/sfu/get -d '{}'
  curl -si ${stage.serviceUrl}/healthz

Ctrl+C ends it.`,
    "font-weight: bold",
    "",
  );
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, resolve);
  await promise;
}
