// A program from PyPI, in a virtual environment of its own.

import type { Tool } from "./installation.ts";
import { MissingProgram, runToEnd } from "./child_process.ts";

const TO_INSTALL = "install Python 3.10 or newer with its venv module (Debian: python3-venv)";

/** A package of PyPI as a tool; `describe` is asked of its own interpreter: `-c` and what prints one line. */
export function pythonTool(
  { name, version, effort, describe }: {
    readonly name: string;
    readonly version: string;
    readonly effort: string;
    /** A script that prints one line, and fails when the package does not work. */
    readonly describe: string;
  },
): Tool {
  return {
    name,
    version,
    cache: "lk-jwt-service-tools",
    effort,
    async install(folder) {
      await runToEnd("python3", ["--version"], { toInstall: TO_INSTALL });
      try {
        await runToEnd("python3", ["-c", "import ensurepip, venv"]);
      } catch {
        throw new MissingProgram(`Cannot make a virtual environment: "python3" has no ensurepip; ${TO_INSTALL}`);
      }
      await runToEnd("python3", ["-m", "venv", folder]);
      // As a module: the scripts of a venv name its folder, which is renamed afterwards.
      await runToEnd(pythonOf(folder), ["-m", "pip", "install", "--no-input", `${name}==${version}`]);
    },
    describe: (folder) => runToEnd(pythonOf(folder), ["-c", describe]),
  };
}

/** The interpreter of an installed tool. */
export function pythonOf(folder: string): string {
  return `${folder}/bin/python`;
}
