// Accepts jobs as fast as it can and prints each one that is acknowledged, until it is killed. Participants are few, so
// that most jobs take the place of others; versions only grow. Arguments: the directory, and the first version.

import { SqliteStore } from "../../../../lib/leave/store/sqlite/store.ts";
import { systemClock } from "../../../../lib/platform.ts";
import { RecordingLog } from "../../../../testing/recording_log.ts";
import { recordingListener, sampleJob } from "../../sample_jobs.ts";

const PARTICIPANTS = 300;
const AT_ONCE = 7;

const [directory = "", first = "0"] = Deno.args;
const store = new SqliteStore({ log: new RecordingLog(), clock: systemClock, directory });
await store.open(recordingListener());
Deno.permissions.revokeSync({ name: "write" });

async function accept(version: number): Promise<void> {
  const participant = version % PARTICIPANTS;
  const job = sampleJob(participant, { delayId: `syd_${participant}_${version}` });
  const { isDurable } = await store.accept(job);
  if (isDurable) console.log(`stored ${participant} ${version}`);
  store.update({ ...job, state: "leaving" });
}

for (let version = Number(first);; version += AT_ONCE) {
  await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => accept(version + n)));
}
