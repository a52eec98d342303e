// A delegated leave, played on the stage: a phone joins a call, hands over its leave event, and dies. It can say nothing
// more; the service sees at the SFU that it has gone, and sends the event.

import { setTimeout as sleepFor } from "node:timers/promises";
import * as v from "valibot";
import { LEGACY_SLOT, roomAlias } from "../lib/livekit/identity.ts";
import type { DelayedEvent } from "../testing/delayed_events.ts";
import type { DevelopmentSfu } from "../testing/fake_sfu.ts";
import type { SfuWebhooks } from "../testing/sfu_webhooks.ts";
import { grantFacts, readGrant } from "./grant.ts";
import { postTo, type Scene, tokenOf, userOf } from "./scene.ts";
import type { SceneStep } from "./scene_steps.ts";
import type { Stage } from "./stage.ts";

/** A stage that sees into its SFU, as a leave needs it. */
export interface LeaveStage extends Stage {
  readonly sfu: DevelopmentSfu;
  readonly webhooks: SfuWebhooks;
}

const DEVICE_ID = "PHONE";
const DELAY_MS = 60 * 60_000;
// Far more than the service needs.
const PATIENCE_MS = 10_000;

const Granted = v.object({ url: v.string(), jwt: v.string() });

/** Whether a leave can be played. */
export function canLeave(stage: Stage): stage is LeaveStage {
  return stage.sfu !== null && stage.webhooks !== null;
}

/** Plays it for a Matrix room. */
export function playLeave(room: string, stage: LeaveStage): Promise<Scene> {
  return stage.inTurn(() => playNow(room, stage));
}

async function playNow(room: string, stage: LeaveStage): Promise<Scene> {
  const { local, sfu, webhooks } = stage;
  const user = userOf("local", stage);
  const alias = roomAlias(room, LEGACY_SLOT);
  stage.roomIds.set(alias, room);
  stage.takeLog();

  const request = { room, openid_token: tokenOf("local", stage), device_id: DEVICE_ID };
  const { jwt } = v.parse(Granted, await (await postTo(stage, request)).json());
  const { identity, sid } = await sfu.join(jwt);
  await webhooks.joined({ room: alias, identity, sid });

  const event = local.delayedEvents.schedule(local.serverName, DELAY_MS);
  const handedOver = await postTo(stage, { ...request, delay_id: event.delayId, delay_timeout: DELAY_MS });
  await handedOver.body?.cancel();
  await until(() => restartsOf(event) > 0);

  const checksBefore = sfu.callCount("GetParticipant");
  sfu.leave(alias, identity);
  const diedAt = performance.now();
  await webhooks.left({ room: alias, identity, sid }, "SIGNAL_CLOSE");
  await until(() => event.end !== null);

  const tookMs = event.end?.how === "sent" ? Math.round(event.end.at - diedAt) : null;
  const checks = sfu.callCount("GetParticipant") - checksBefore;
  const grant = readGrant(jwt);
  return {
    role: "local",
    user,
    room,
    status: handedOver.status,
    verdict: tookMs === null
      ? {
        kind: "unclear",
        text: `${user} is still shown in the call, ${PATIENCE_MS / 1000} s after the SFU lost the phone`,
      }
      : { kind: "left", text: `${user} is out of the call, ${tookMs} ms after the SFU lost the phone` },
    grant,
    grantFacts: grantFacts(grant),
    canJoin: true,
    steps: [
      step("A phone joins", [`${user} in ${room}`, `session ${sid} on the SFU`]),
      step("It schedules its leave", ["The homeserver will send it in an hour, unless it is restarted", event.delayId]),
      step("It delegates the leave", [`POST /sfu/get with delay_id: ${handedOver.status}`, restartedText(event)]),
      step("The phone dies", [
        "It says nothing; the SFU sees a broken connection",
        "webhook: participant_left, SIGNAL_CLOSE",
      ]),
      checks > 0
        ? step("Is it still there?", [
          "The service asks the SFU: no",
          `GetParticipant${checks > 1 ? `, ${checks} times` : ""}`,
        ])
        : { ...step("Is it still there?", ["The service did not ask"]), state: "skipped" },
      tookMs === null
        ? { ...step("What comes of it", ["It was not sent"]), state: "refused" }
        : step("What comes of it", [
          "The service has the homeserver send it at once",
          "not in an hour, as the homeserver would have by itself",
        ]),
      { title: "The service's log", kind: "log", state: "done", lines: stage.takeLog() },
    ],
    answer: null,
  };
}

function step(title: string, lines: readonly string[]): SceneStep {
  return { title, kind: "event", state: "done", lines };
}

function restartsOf({ calls }: DelayedEvent): number {
  return calls.filter(({ action }) => action === "restart").length;
}

function restartedText(event: DelayedEvent): string {
  return restartsOf(event) > 0 ? "The service keeps it from being sent: restart" : "The service did not restart it";
}

async function until(condition: () => boolean): Promise<void> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  while (!condition() && performance.now() < giveUpAt) await sleepFor(5);
}
