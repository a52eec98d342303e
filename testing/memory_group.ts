// A control group that limits memory, as container runtimes make one: version 2 of the kernel's interface, or version 1.

import { setTimeout as sleep } from "node:timers/promises";

/** A control group without processes yet. */
export interface MemoryGroup extends AsyncDisposable {
  /** Writing a process ID here moves that process, and all it starts later, into the group. */
  readonly processesFile: string;
  /** How often the kernel has killed in it because the limit was reached. */
  killCount(): Promise<number>;
}

interface Layout {
  readonly parent: string;
  readonly limitFile: string;
  readonly eventsFile: string;
}

const LAYOUTS: readonly Layout[] = [
  { parent: "/sys/fs/cgroup", limitFile: "memory.max", eventsFile: "memory.events" },
  { parent: "/sys/fs/cgroup/memory", limitFile: "memory.limit_in_bytes", eventsFile: "memory.oom_control" },
];

/** Makes a group; null where the machine lets nobody make one (as inside most containers). */
export async function createMemoryGroup(limitBytes: number): Promise<MemoryGroup | null> {
  for (const { parent, limitFile, eventsFile } of LAYOUTS) {
    const directory = `${parent}/lk-jwt-service-test-${crypto.randomUUID()}`;
    try {
      await Deno.mkdir(directory);
    } catch {
      continue; // read-only, or the other version
    }
    try {
      await Deno.writeTextFile(`${directory}/${limitFile}`, String(limitBytes), { create: false });
    } catch {
      await Deno.remove(directory); // a hierarchy without the memory controller
      continue;
    }
    return {
      processesFile: `${directory}/cgroup.procs`,
      async killCount() {
        const events = await Deno.readTextFile(`${directory}/${eventsFile}`);
        return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? NaN);
      },
      [Symbol.asyncDispose]: () => removeEmptied(directory),
    };
  }
  return null;
}

// The kernel lets go of an ended process a moment after its parent has heard of the end.
async function removeEmptied(directory: string): Promise<void> {
  for (let attempt = 0;; attempt++) {
    try {
      return await Deno.remove(directory);
    } catch (error) {
      if (attempt === 40) throw error;
      await sleep(50);
    }
  }
}
