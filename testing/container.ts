// What a container runtime does to the executable, done with unshare and setpriv: process 1 of its own process tree,
// some user without rights or capabilities, nothing writable, no home, a memory limit. Needs root.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { BackgroundProcess } from "./child_process.ts";
import { confinedAsBySystemd } from "./systemd_filters.ts";

/** The user of the image; on this machine nothing belongs to it. */
export const CONTAINER_UID = 65_532;

const FIND_TIMEOUT_MS = 10_000;
const STOP_GRACE_MS = 15_000;

// The shell joins the memory limit and gives up writing before it becomes the executable. Its own variables go again.
// Whoever attacks from another machine takes no processor time from the service: here it goes first instead.
function enter(options: ContainerOptions): string {
  const { memoryProcessesFile, writableDirectory, resolverFile, uid = CONTAINER_UID, systemdFilters, root } = options;
  const filters: readonly string[] = systemdFilters === undefined ? [] : confinedAsBySystemd(systemdFilters);
  return `
${memoryProcessesFile === undefined ? "" : `echo $$ > '${memoryProcessesFile}' || exit 91`}
${writableDirectory === undefined ? "" : `mount --bind '${writableDirectory}' '${writableDirectory}' || exit 92`}
${resolverFile === undefined ? "" : `mount --bind '${resolverFile}' /etc/resolv.conf || exit 92`}
for mount in / /tmp /dev/shm; do
  ! mountpoint -q "$mount" || mount -o remount,bind,ro "$mount" || exit 92
done
${root === undefined ? "" : makeRoot(root)}
exec env -u PATH -u PWD -- nice -n -10 ${root === undefined ? "" : `/usr/sbin/chroot ${ROOT}`} \\
  setpriv --reuid=${uid} --regid=${uid} \\
  --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all --pdeathsig=KILL -- \\
  ${filters.map((argument) => `'${argument}'`).join(" ")} "$0" "$@"`;
}

// A directory that every system has (Filesystem Hierarchy Standard, 3.12); nobody outside sees what is mounted there.
const ROOT = "/mnt";

// What images of Debian have, less what nothing needs: no /tmp, no /home, no /var, no /run but what is asked for.
function makeRoot(files: Readonly<Record<string, string>>): string {
  return `
set -e
mount -t tmpfs -o mode=755 root ${ROOT}
cd ${ROOT}
mkdir -p usr proc dev etc/ssl/certs
ln -s usr/bin usr/lib usr/lib64 .
mount --bind /usr usr
mount -t tmpfs -o mode=755 local usr/local
mount --bind /proc proc
for device in null zero full random urandom; do touch dev/$device; mount --bind /dev/$device dev/$device; done
cp -L /etc/nsswitch.conf /etc/resolv.conf /etc/hosts /etc/ld.so.cache etc
cp -L /etc/ssl/certs/ca-certificates.crt etc/ssl/certs
bring() {
  mkdir -p ".\${2%/*}"
  if [ -d "$1" ]; then mkdir -p ".$2"; else touch ".$2"; fi
  mount --bind "$1" ".$2"
  mount -o remount,bind,ro ".$2"
}
${Object.entries(files).map(([path, source]) => `bring '${source}' '${path}'`).join("\n")}
mount -o remount,bind,ro usr
mount -o remount,ro usr/local
mount -o remount,ro ${ROOT}
`;
}

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
  /** The filters of a unit of systemd, and what becomes of a system call that they don't allow. */
  readonly systemdFilters?: "EPERM" | "kill";
  /**
   * Files and folders of a root of its own, which has nothing else but programs and libraries: where each one is here, by
   * its path there. The command is one of them.
   */
  readonly root?: Readonly<Record<string, string>>;
  /** The command, when it is not the executable itself with its arguments. */
  readonly command?: readonly string[];
}

/** A container that runs, at the latest until this process ends. */
export class Container implements AsyncDisposable {
  readonly process: BackgroundProcess;
  readonly #executable: string;

  constructor(options: ContainerOptions) {
    const { executable, args = [], variables, logFile, command = [executable, ...args] } = options;
    assert.equal(Deno.uid(), 0, "Cannot make a container: run this test as root, or through sudo");
    this.#executable = executable;
    this.process = new BackgroundProcess({
      name: "the container",
      program: "unshare",
      args: ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        .concat("--", "/bin/sh", "-c", enter(options), ...command),
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

// The file is one made for this run, so that only the container's process can have it; its path may be another inside.
function findByExecutable(executable: string): number | undefined {
  const { dev, ino } = Deno.statSync(executable);
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const running = Deno.statSync(`/proc/${name}/exe`);
      if (running.dev === dev && running.ino === ino) return Number(name);
    } catch {
      // A kernel thread, or a process that has just ended.
    }
  }
  return undefined;
}
