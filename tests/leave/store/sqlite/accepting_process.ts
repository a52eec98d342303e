// Accepts jobs as fast as it can and prints each one's delay ID once it is durable, until it is killed.
// Arguments: the store's directory, and a number that sets this run's jobs apart.

import { SqliteStore } from "../../../../lib/leave/store/sqlite/store.ts";
import { systemClock } from "../../../../lib/platform.ts";
import { RecordingLog } from "../../../../testing/recording_log.ts";
import { recordingListener, sampleJob } from "../../sample_jobs.ts";

const [directory = "", run = "0"] = Deno.args;
const store = new SqliteStore({ log: new RecordingLog(), clock: systemClock, directory });
await store.open(recordingListener());
for (let n = Number(run) * 1_000_000;; n++) {
  const job = sampleJob(n, { timerStartedAt: Date.now() });
  const { isDurable } = await store.accept(job);
  if (isDurable) Deno.stdout.writeSync(new TextEncoder().encode(`${job.delayId}\n`));
  store.update({ ...job, state: "leaving" });
}
