// The command line: serve by default, and what an operator asks a binary. Only here (and in main.ts) the process is
// touched: its environment, its signals, its exit code.

import { VERSION } from "./version.ts";
import { type Config, describeConfig, parseConfig } from "./config/config.ts";
import type { EnvironmentVariables } from "./config/environment.ts";
import { rotateKeys } from "./config/key_rotation.ts";
import { readFileFacts, warnAboutReadableSecrets } from "./config/secret_files.ts";
import { checkHealth } from "./healthcheck.ts";
import { formatBind } from "./http/bind.ts";
import { errorStack, errorText } from "./log/error_text.ts";
import { closeLog, type Log, type LogWriter, openLog } from "./log/log.ts";
import { withIdForm } from "./log/pseudonyms.ts";
import { createStderrWriter } from "./log/stderr_writer.ts";
import { setTrust } from "./net/trust.ts";
import { systemPlatform } from "./platform.ts";
import { type Service, startService } from "./service.ts";
import { listenForHangups, listenForStop } from "./signals.ts";
import { usage } from "./usage.ts";

const NAME = "lk-jwt-service";

// Container runtimes kill after 10 s: leave before.
const DRAIN_TIMEOUT_MS = 8000;

/**
 * Runs a command.
 *
 * @returns The exit code; a service runs until it is told to end.
 */
export async function run(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  if (command === "doctor") return await doctor(rest);
  if (rest.length > 0) return misused(`Cannot run "${args.join(" ")}": expected one command at most`);
  switch (command) {
    case undefined:
      return await serve(Deno.env.toObject());
    case "healthcheck":
      return await healthcheck(Deno.env.toObject());
    case "--version":
    case "version":
      print(`${NAME} ${VERSION} (${buildInfo()})`);
      return 0;
    case "--help":
    case "-h":
    case "help":
      print(usage());
      return 0;
    default:
      return misused(`Cannot run "${command}": no such command`);
  }
}

async function serve(variables: EnvironmentVariables): Promise<number> {
  // Registered first: as PID 1 a process without a listener never sees SIGTERM at all, and SIGHUP would end any other.
  const stop = listenForStop();
  const hangups = listenForHangups();
  const parsed = parseConfig(variables, Deno.readTextFileSync);
  const writer = createStderrWriter();
  const plainLog = openLog({ ...parsed.log, writer });
  try {
    for (const warning of parsed.warnings) plainLog.warning(warning);
    if (!parsed.ok) {
      for (const problem of parsed.problems) plainLog.error(problem);
      return 1;
    }
    const { config } = parsed;
    const log = withIdForm(plainLog, config.logIds);
    const readable = warnAboutReadableSecrets(variables, readFileFacts, Deno.pid === 1);
    for (const warning of [...readable, ...setTrust(config)]) log.warning(warning);
    surviveStrayErrors(log);
    // A store may be held by a process that is about to end: whoever stops us meanwhile does not wait for it.
    const service = await Promise.race([startService(config, systemPlatform, log), stop.requested]);
    if (typeof service === "string") return 0;
    announce(config, service, log);
    dropPermissions(config);
    const { useKeys } = service;
    hangups.onEach(() => rotateKeys({ variables, readTextFile: Deno.readTextFileSync, useKeys, log }));

    log.info("Stopping", { signal: await stop.requested });
    const leaveAnyway = setTimeout(() => leaveNow(log, writer), DRAIN_TIMEOUT_MS);
    await service.drain();
    clearTimeout(leaveAnyway);
    log.info("Stopped");
    return 0;
  } catch (error) {
    plainLog.error(`Cannot start: ${errorText(error)}`, parsed.ok ? { bind: formatBind(parsed.config.bind) } : {});
    return 1;
  } finally {
    stop.dispose();
    hangups.dispose();
    closeLog({ writer });
  }
}

function announce(config: Config, service: Service, log: Log): void {
  log.info(`${NAME} ${VERSION}`, { deno: Deno.version.deno, ...describeConfig(config) });
  if (Object.keys(config.proxies).length > 0) {
    log.warning(
      "Outbound requests go through a proxy, which resolves the names: the address guard sees only addresses that " +
        "stand in a name. Let the proxy refuse internal addresses",
    );
  }
  const { address } = service;
  const where = address.transport === "unix" ? formatBind(config.bind) : formatAddress(address);
  log.info(`Listening on ${where}`);
}

function formatAddress(address: Deno.Addr): string {
  if (!("hostname" in address)) return address.transport;
  return formatBind({ transport: "tcp", hostname: address.hostname, port: address.port });
}

// The configuration is read and the store is open: from here on neither the environment is read nor a file written. Unix
// sockets need the permission to write: to be connected to, and to be removed at the end.
function dropPermissions(config: Config): void {
  Deno.permissions.revokeSync({ name: "env" });
  const usesUnixSocket = config.bind.transport === "unix" || config.redis?.isUnixSocket === true;
  if (!usesUnixSocket) Deno.permissions.revokeSync({ name: "write" });
}

function leaveNow(log: Log, writer: LogWriter): void {
  log.error(`Not stopped after ${DRAIN_TIMEOUT_MS / 1000} s, leaving anyway: this is a bug`);
  closeLog({ writer });
  Deno.exit(1);
}

// One failed promise must not end everybody's calls.
function surviveStrayErrors(log: Log): void {
  let count = 0;
  const report = (event: Event, error: unknown) => {
    event.preventDefault();
    log.error("An error reached no handler: this is a bug", {
      stack: errorStack(error),
      count: ++count,
      throttle: errorText(error),
    });
  };
  globalThis.addEventListener("unhandledrejection", (event) => report(event, event.reason));
  globalThis.addEventListener("error", (event) => report(event, event.error));
}

async function healthcheck(variables: EnvironmentVariables): Promise<number> {
  const problem = await checkHealth(variables);
  if (problem === null) return 0;
  printError(problem);
  return 1;
}

async function doctor(args: readonly string[]): Promise<number> {
  // Loaded where it is wanted: a service has no use for it.
  const { runDoctor } = await import("./doctor/command.ts");
  const outcome = await runDoctor(args, {
    version: VERSION,
    variables: Deno.env.toObject(),
    readTextFile: Deno.readTextFileSync,
    print: (text) => write(Deno.stdout, text),
    printProgress: (text) => write(Deno.stderr, text),
    isTerminal: Deno.stdout.isTerminal(),
  });
  return typeof outcome === "number" ? outcome : misused(outcome);
}

/** What a report about a binary should say of it. */
function buildInfo(): string {
  const { deno, v8 } = Deno.version;
  const { target, standalone } = Deno.build;
  return `Deno ${deno}, V8 ${v8}, ${target}, ${standalone ? "compiled" : "from source"}`;
}

function misused(text: string): number {
  printError(text);
  printError(`Run "${NAME} --help" for the commands`);
  return 2;
}

function print(text: string): void {
  write(Deno.stdout, `${text.trimEnd()}\n`);
}

function printError(text: string): void {
  write(Deno.stderr, `${text}\n`);
}

function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
}
