// What a container runtime does to the executable, done with unshare and setpriv: process 1 of its own process tree,
// some user without rights or capabilities, nothing writable, no home, a memory limit. Needs root.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { BackgroundProcess } from "./child_process.ts";

/** The user of the image; on this machine nothing belongs to it. */
export const CONTAINER_UID = 65_532;

const FIND_TIMEOUT_MS = 10_000;
const STOP_GRACE_MS = 15_000;

// The shell joins the memory limit and gives up writing before it becomes the executable. Its own variables go again.
// Whoever attacks from another machine takes no processor time from the service: here it goes first instead.
function enter(
  { memoryProcessesFile, writableDirectory, resolverFile, uid = CONTAINER_UID, onlyInternet = false }: ContainerOptions,
): string {
  return `
${memoryProcessesFile === undefined ? "" : `echo $$ > '${memoryProcessesFile}' || exit 91`}
${writableDirectory === undefined ? "" : `mount --bind '${writableDirectory}' '${writableDirectory}' || exit 92`}
${resolverFile === undefined ? "" : `mount --bind '${resolverFile}' /etc/resolv.conf || exit 92`}
for mount in / /tmp /dev/shm; do
  ! mountpoint -q "$mount" || mount -o remount,bind,ro "$mount" || exit 92
done
exec env -u PATH -u PWD -- nice -n -10 setpriv --reuid=${uid} --regid=${uid} \\
  --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all --pdeathsig=KILL -- \\
  ${onlyInternet ? `/usr/bin/python3 -c '${REFUSE_OTHER_SOCKETS}'` : ""} "$0" "$@"`;
}

// As systemd does it for RestrictAddressFamilies=AF_INET AF_INET6: a seccomp filter of socket(2), by its number on this
// architecture, that refuses with EAFNOSUPPORT.
const REFUSE_OTHER_SOCKETS = `
import ctypes, os, platform, struct, sys
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
code = [(0x20, 0, 0, 0), (0x15, 0, 4, number), (0x20, 0, 0, 16), (0x15, 2, 0, 2), (0x15, 1, 0, 10),
        (0x06, 0, 0, 0x00050000 | 97), (0x06, 0, 0, 0x7fff0000)]
filters = b"".join(struct.pack("HBBI", *each) for each in code)
buffer = ctypes.create_string_buffer(filters)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program): sys.exit(93)
os.execv(sys.argv[1], sys.argv[1:])
`;

/** What runs in a container, and with what. */
export interface ContainerOptions {
  readonly executable: string;
  readonly args?: readonly string[];
  /** Its whole environment. */
  readonly variables: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Where a memory group takes processes, when there is one. */
  readonly memoryProcessesFile: string | undefined;
  /** The one directory that stays writable; none by default. */
  readonly writableDirectory?: string;
  /** Stands in for `/etc/resolv.conf`. */
  readonly resolverFile?: string;
  /** User and group; by default those of the image. */
  readonly uid?: number;
  /** Sockets of IPv4 and IPv6 only, none of the machine's own. */
  readonly onlyInternet?: boolean;
}

/** A container that runs, at the latest until this process ends. */
export class Container implements AsyncDisposable {
  readonly process: BackgroundProcess;
  readonly #executable: string;

  constructor(options: ContainerOptions) {
    const { executable, args = [], variables, logFile } = options;
    assert.equal(Deno.uid(), 0, "Cannot make a container: run this test as root, or through sudo");
    this.#executable = executable;
    this.process = new BackgroundProcess({
      name: "the container",
      program: "unshare",
      args: ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        .concat("--", "/bin/sh", "-c", enter(options), executable, ...args),
      env: { ...variables, PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      clearEnv: true,
      logFile,
    });
  }

  /** The executable's process ID, as the machine outside counts. */
  async pid(): Promise<number> {
    const deadline = performance.now() + FIND_TIMEOUT_MS;
    while (performance.now() < deadline) {
      const found = findByExecutable(this.#executable);
      if (found !== undefined) return found;
      await sleep(20);
    }
    throw new Error(`Cannot find the process of "${this.#executable}"\n${this.process.output()}`);
  }

  /** Sends SIGTERM to process 1, as `docker stop` does, and gives its exit code. */
  async stop(): Promise<number> {
    Deno.kill(await this.pid(), "SIGTERM");
    const patience = new AbortController();
    const tooLate = sleep(STOP_GRACE_MS, "still running", { signal: patience.signal }).catch(() => "ended");
    const outcome = await Promise.race([this.process.ended, tooLate]);
    patience.abort();
    await tooLate;
    if (typeof outcome === "number") return outcome;
    throw new Error(
      `Cannot stop the container: ${outcome} ${STOP_GRACE_MS} ms after SIGTERM\n${this.process.output()}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process.stop({ signal: "SIGKILL", graceMs: 0 }); // unshare's end is the end of all inside
  }
}

// The path is in a directory made for this run, so that only the container's process can have it.
function findByExecutable(executable: string): number | undefined {
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (Deno.readLinkSync(`/proc/${name}/exe`) === executable) return Number(name);
    } catch {
      // A kernel thread, or a process that has just ended.
    }
  }
  return undefined;
}
