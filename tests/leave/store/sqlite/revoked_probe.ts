// A store in a process that gives up the permission to write files once the store is open, as the service does. Prints
// what came of a plain file and of the store. Argument: the directory.

import { SqliteStore } from "../../../../lib/leave/store/sqlite/store.ts";
import { systemClock } from "../../../../lib/platform.ts";
import { RecordingLog } from "../../../../testing/recording_log.ts";
import { recordingListener, sampleJob } from "../../sample_jobs.ts";

const [directory = ""] = Deno.args;
const log = new RecordingLog();
const store = new SqliteStore({ log, clock: systemClock, directory });
await store.open(recordingListener());
Deno.permissions.revokeSync({ name: "write" });

let file = "written";
try {
  Deno.writeTextFileSync(`${directory}/file`, "");
} catch (error) {
  file = error instanceof Error ? error.name : "refused";
}
// More than SQLite keeps in its log file before it moves it into the database.
const accepted = await Promise.all(Array.from({ length: 12_000 }, (_, n) => store.accept(sampleJob(n))));
for (let n = 0; n < 11_000; n++) store.remove(sampleJob(n), `syd_${n}`);
await store.close();
const durable = accepted.filter(({ isDurable }) => isDurable).length;
console.log(JSON.stringify({ file, durable, errors: log.of("error").length }));
