// The command line's way into the doctor: arguments and environment in, report and exit code out.

import { systemPlatform } from "../platform.ts";
import { createClients, policyOf } from "../clients.ts";
import { type Config, parseConfig } from "../config/config.ts";
import type { EnvironmentVariables, ReadTextFile } from "../config/environment.ts";
import { formatBind, reachable } from "../http/bind.ts";
import { setTrust } from "../net/trust.ts";
import { worstOf } from "./check.ts";
import { type Examination, EXAMINATION_TIMEOUT_MS, examine, parseDoctorArguments } from "./doctor.ts";
import { checkConfiguration, checkRunning, checkStateDirectory } from "./own_checks.ts";
import { pasteBlocks } from "./paste_blocks.ts";
import { probeOf } from "./probe.ts";
import { checkRedis } from "./redis_check.ts";
import { EXIT_CODES, jsonReport, textReport } from "./report.ts";
import { checkDeps, namedServers } from "./setup.ts";

/** What the command needs of the process. */
export interface DoctorCommandDeps {
  readonly version: string;
  readonly variables: EnvironmentVariables;
  readonly readTextFile: ReadTextFile;
  /** Writes to standard output as it is. */
  readonly print: (text: string) => void;
  /** Writes to standard error: progress. */
  readonly printProgress: (text: string) => void;
  /** Whether a person watches standard output. */
  readonly isTerminal: boolean;
}

/**
 * Runs the doctor.
 *
 * @param args What follows `doctor`.
 * @returns 0 fine, 3 warnings only, 4 errors; the text of the problem for a misuse.
 */
export async function runDoctor(args: readonly string[], deps: DoctorCommandDeps): Promise<number | string> {
  const options = parseDoctorArguments(args);
  if (typeof options === "string") return options;
  const { version, print, printProgress, isTerminal } = deps;
  const onProgress = (part: string) => isTerminal && !options.json ? printProgress(`checked: ${part}\n`) : undefined;
  const { checks, blocks } = await examineSetup(options, deps, onProgress);
  print(options.json ? `${jsonReport(version, checks)}\n` : textReport(checks, blocks, isTerminal));
  return EXIT_CODES[worstOf(checks)];
}

async function examineSetup(
  options: { readonly serverNames: readonly string[]; readonly publicUrl: string | null },
  { variables, readTextFile }: DoctorCommandDeps,
  onProgress: (part: string) => void,
) {
  const parsed = parseConfig(variables, readTextFile);
  if (!parsed.ok) return { checks: checkConfiguration(parsed.problems, parsed.warnings), blocks: [] };
  const { config } = parsed;
  const warnings = [...parsed.warnings, ...setTrust(config)];
  const clients = createClients(config, systemPlatform, { homeservers: policyOf(config) });
  try {
    const entries = [...new Set([...namedServers(config), ...options.serverNames])];
    const examination = await examine(entries, options.publicUrl, {
      ...checkDeps(config, clients, systemPlatform.clock),
      checkOwn: async (signal) => [
        ...checkConfiguration([], warnings),
        checkStateDirectory({ ...config, usesRedis: config.redis !== null }),
        await checkRedis(config.redis),
        await checkRunning(statusUrl(config), probeOf(clients.outbound), signal),
      ],
      onProgress,
    }, AbortSignal.timeout(EXAMINATION_TIMEOUT_MS));
    return { checks: examination.checks, blocks: blocksFor(config, entries[0] ?? null, examination) };
  } finally {
    clients.close();
  }
}

function statusUrl({ metricsBind }: Config): URL | null {
  if (metricsBind === null || metricsBind.transport === "unix") return null;
  const text = `http://${formatBind(reachable(metricsBind))}/status`;
  return URL.canParse(text) ? new URL(text) : null; // no URL has the zone of an IPv6 address
}

function blocksFor(config: Config, serverName: string | null, { publicUrl, baseUrl }: Examination) {
  const [{ name: apiKey }] = config.apiKeys;
  const ownUrl = config.bind.transport === "unix"
    ? "http://127.0.0.1:8080"
    : `http://${formatBind(reachable(config.bind))}`;
  return pasteBlocks({ serverName, baseUrl, publicUrl, apiKey, ownUrl });
}
