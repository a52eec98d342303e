// Keeps what the rig installs between runs: one folder per tool and version, made whole or not at all. Two runs at once
// wait for each other.

import { MissingProgram } from "./child_process.ts";

/** A tool of a pinned version. */
export interface Tool {
  /** Folder-safe, such as `livekit-server`. */
  readonly name: string;
  readonly version: string;
  /** Folder in the user's cache directory; by default that of the rig. */
  readonly cache?: string;
  /** What the reader waits for when it is not there yet. */
  readonly effort: string;
  /** Installs into an empty folder, which is renamed afterwards. */
  install(folder: string): Promise<void>;
  /** One line that the installed tool says about itself; throws when it does not work. */
  describe(folder: string): Promise<string>;
}

const ATTEMPTS = 2;

const folders = new Map<string, Promise<string>>();

/**
 * Installs a tool unless a working copy of that version is there, and prints, once in a process, which one it is.
 *
 * @returns Its folder.
 * @throws MissingProgram, or the error of the second attempt.
 */
export function ensureInstalled(tool: Tool): Promise<string> {
  const folder = folders.get(tool.name) ?? install(tool);
  folders.set(tool.name, folder);
  return folder;
}

async function install(tool: Tool): Promise<string> {
  const root = cacheFolder(tool);
  await Deno.mkdir(root, { recursive: true });
  using file = await Deno.open(`${root}/${tool.name}.lock`, { write: true, create: true });
  await file.lock(true); // until the file is closed, be it by the end of the process

  const folder = `${root}/${tool.name}-${tool.version}`;
  const found = await describeIfWorking(tool, folder);
  if (found !== null) {
    console.log(found);
    return folder;
  }
  console.log(`Installing ${tool.name} ${tool.version} into ${root} (${tool.effort})`);
  await installAnew(tool, folder);
  console.log(await tool.describe(folder));
  return folder;
}

async function installAnew(tool: Tool, folder: string): Promise<void> {
  const partial = `${folder}.partial`;
  for (let attempt = 1;; attempt++) {
    try {
      await removeFolder(partial);
      await Deno.mkdir(partial);
      await tool.install(partial);
      await removeFolder(folder);
      await Deno.rename(partial, folder);
      return;
    } catch (error) {
      if (error instanceof MissingProgram || attempt === ATTEMPTS) throw error;
      console.log(`Installing ${tool.name} once more: ${error instanceof Error ? error.message : error}`);
    }
  }
}

// A folder that does not work is one whose ground has gone, such as the Python that a venv was made with.
async function describeIfWorking(tool: Tool, folder: string): Promise<string | null> {
  try {
    return await tool.describe(folder);
  } catch {
    return null;
  }
}

async function removeFolder(folder: string): Promise<void> {
  try {
    await Deno.remove(folder, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function cacheFolder({ cache = "lk-jwt-service-e2e" }: Tool): string {
  const base = Deno.env.get("XDG_CACHE_HOME") || `${Deno.env.get("HOME")}/.cache`;
  return `${base}/${cache}`;
}
