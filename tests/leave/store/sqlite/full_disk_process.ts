// Fills the disk that it is given (a limit of the file size stands in) and reports what the store said.
// Argument: the store's directory.

import { SqliteStore } from "../../../../lib/leave/store/sqlite/store.ts";
import { systemClock } from "../../../../lib/platform.ts";
import { RecordingLog } from "../../../../testing/recording_log.ts";
import { recordingListener, sampleJob } from "../../sample_jobs.ts";

const log = new RecordingLog();
const store = new SqliteStore({ log, clock: systemClock, directory: Deno.args[0] ?? "" });
Deno.addSignalListener("SIGXFSZ", () => {}); // else the limit kills, where a full disk would only fail
await store.open(recordingListener());
const first = await store.accept(sampleJob(0));
let last = first;
for (let n = 1; n < 2000 && last.isDurable; n++) last = await store.accept(sampleJob(n));
console.log(JSON.stringify({ durableAtFirst: first.isDurable, durableWhenFull: last.isDurable, log: log.text }));
await store.close();
Deno.exit(0);
