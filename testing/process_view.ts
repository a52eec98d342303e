// A process as the kernel sees it: the files it has open for writing, and the programs it has started. Works for the
// service from source and for the compiled one alike.

const ACCESS_MODE = 0o3;

/** Paths of the regular files that a process has open for writing. */
export function writableFiles(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return [...Deno.readDirSync(folder)].flatMap(({ name }) => {
    try {
      const path = Deno.readLinkSync(`${folder}/${name}`);
      const flags = /flags:\s+([0-7]+)/.exec(Deno.readTextFileSync(`/proc/${pid}/fdinfo/${name}`))?.[1] ?? "0";
      const isForWriting = (parseInt(flags, 8) & ACCESS_MODE) !== 0;
      return isForWriting && Deno.statSync(`${folder}/${name}`).isFile ? [path] : [];
    } catch {
      return []; // closed a moment ago
    }
  });
}

/** Process IDs of the programs that a process has started and that still run. */
export function childrenOf(pid: number): number[] {
  return [...Deno.readDirSync(`/proc/${pid}/task`)].flatMap(({ name }) => {
    const children = Deno.readTextFileSync(`/proc/${pid}/task/${name}/children`).trim();
    return children === "" ? [] : children.split(" ").map(Number);
  });
}
