// Webhooks that LiveKit did not send: without a signature, signed by participants with their own tokens (LiveKit's key
// signs those too), and with LiveKit's own header over another body; of 1 MB each, all at once. LiveKit's own come beside
// them.

import { createHash } from "node:crypto";
import { AccessToken } from "livekit-server-sdk";
import { DEVELOPMENT_API_SECRET } from "../fake_sfu.ts";
import { API_KEY, lonelySettings } from "./settings.ts";
import { inLoops, type Pressure } from "./pressure.ts";

// Forty at once of those that anybody can send.
const LOOPS_PER_KIND = 20;
// Only LiveKit can sign these: it sends one after another for each room.
const GENUINE_LOOPS = 1;
const MIB = 1024 * 1024;
const LARGEST = `{"event":"participant_left","id":"EV_x","x":"${"a".repeat(MIB - 60)}"}`;

/** Webhooks at their worst. */
export const hostileWebhooks: Pressure = {
  what: "webhooks of 1 MB, unsigned, signed by participants and signed for other bodies",
  async prepare() {
    const ofParticipant = await tokenWith({ roomJoin: true, room: "room" }, null);
    const forOther = await tokenWith(null, "{}");
    const genuine = await tokenWith(null, LARGEST);
    const post = async (url: string, authorization: string, body: string, signal: AbortSignal) => {
      const response = await fetch(`${url}/sfu_webhook`, { method: "POST", headers: { authorization }, body, signal });
      await response.body?.cancel();
    };
    return {
      variables: { ...lonelySettings(), LIVEKIT_DELEGATION: "true" },
      async press(url, over) {
        let ids = 0;
        const [unsigned, participants, others, ours] = await Promise.all([
          inLoops(LOOPS_PER_KIND, over, () => post(url, "", LARGEST, over)),
          inLoops(LOOPS_PER_KIND, over, () => post(url, ofParticipant, LARGEST, over)),
          inLoops(GENUINE_LOOPS, over, () => post(url, forOther, LARGEST, over)),
          inLoops(GENUINE_LOOPS, over, async () => {
            const body = JSON.stringify(leave(ids++));
            await post(url, await tokenWith(null, body), body, over);
            await post(url, genuine, LARGEST, over);
          }),
        ]);
        return `${unsigned} unsigned, ${participants} of participants, ${others} for other bodies, ${2 * ours} genuine`;
      },
    };
  },
};

function leave(id: number) {
  const participant = { identity: "i".repeat(200), sid: `PA_${id}`, disconnectReason: "CLIENT_INITIATED" };
  const createdAt = String(Math.floor(Date.now() / 1000));
  return { event: "participant_left", room: { name: `room${id}` }, participant, id: `EV_${id}`, createdAt };
}

function tokenWith(grant: { readonly roomJoin: true; readonly room: string } | null, hashed: string | null) {
  const token = new AccessToken(API_KEY, DEVELOPMENT_API_SECRET, { ttl: 600, identity: "somebody" });
  if (grant !== null) token.addGrant(grant);
  if (hashed !== null) token.sha256 = createHash("sha256").update(hashed).digest("base64");
  return token.toJwt();
}
