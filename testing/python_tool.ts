// A program from PyPI, in a virtual environment of its own.

import type { Tool } from "./installation.ts";
import { MissingProgram, runToEnd } from "./child_process.ts";

const TO_INSTALL = "install Python 3.10 or newer with its venv module (Debian: python3-venv)";

/** A package of PyPI to install. */
export interface PythonPackage extends Pick<Tool, "name" | "version" | "effort" | "cache"> {
  /** Its name on PyPI; by default that of the tool. */
  readonly packageName?: string;
  /** A script that prints one line, and fails when the package does not work. */
  readonly describe: string;
}

/** A package of PyPI as a tool. */
export function pythonTool({ packageName, describe, ...tool }: PythonPackage): Tool {
  return {
    cache: "lk-jwt-service-tools",
    ...tool,
    async install(folder) {
      await runToEnd("python3", ["--version"], { toInstall: TO_INSTALL });
      try {
        await runToEnd("python3", ["-c", "import ensurepip, venv"]);
      } catch {
        throw new MissingProgram(`Cannot make a virtual environment: "python3" has no ensurepip; ${TO_INSTALL}`);
      }
      await runToEnd("python3", ["-m", "venv", folder]);
      // As a module: the scripts of a venv name its folder, which is renamed afterwards.
      await runToEnd(pythonOf(folder), [
        "-m",
        "pip",
        "install",
        "--no-input",
        `${packageName ?? tool.name}==${tool.version}`,
      ]);
    },
    describe: (folder) => runToEnd(pythonOf(folder), ["-c", describe]),
  };
}

/** The interpreter of an installed tool. */
export function pythonOf(folder: string): string {
  return `${folder}/bin/python`;
}
