// Delegated leave on real parts: Synapse's own delayed events, LiveKit's own webhooks, real participants. Stories are told
// side by side, each in rooms of its own, since most of what they do is to wait.

import { ADMISSION } from "./leave_admission.ts";
import { OUTAGES_SURVIVED } from "./leave_outages.ts";
import { PRESENCE } from "./leave_presence.ts";
import { Parts, type Scene, startScene, type Story } from "./leave_scene.ts";

// The client library's native threads and its callbacks outlive the room that they served; and steps that are told at
// once could not be told apart by what they leave.
const UNSANITISED = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false };

// The long ones begin first. More at once, and a small machine is too slow for the short delays of some.
const STORIES = [...OUTAGES_SURVIVED, ...PRESENCE, ...ADMISSION];
const AT_ONCE = 7;

Deno.test({
  name: "the room shows who is in the call",
  ...UNSANITISED,
  async fn(t) {
    await using scene = await startScene();
    const waiting = STORIES.values();
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      for (const story of waiting) {
        await t.step({ name: story.name, ...UNSANITISED, fn: () => tell(story, scene) });
      }
    }));
  },
});

async function tell({ tell }: Story, scene: Scene): Promise<void> {
  await using parts = new Parts(scene);
  try {
    await tell(scene, parts);
  } catch (error) {
    console.log(parts.logs());
    throw error;
  }
}
