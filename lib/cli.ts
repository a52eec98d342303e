// The command line: serve by default, and what an operator asks a binary. Only here (and in main.ts) the process is
// touched: its environment, its signals, its exit code.

import http from "node:http";
import manifest from "../deno.json" with { type: "json" };
import { ANY_ADDRESS, type Bind, formatBind, parseBind } from "./config/bind.ts";
import { type Config, ConfigError, describeConfig, parseConfig, type ParsedConfig } from "./config/config.ts";
import { rotateKeys } from "./config/key_rotation.ts";
import { setTrust } from "./net/trust.ts";
import { closeLog, type Log, type LogWriter, openLog } from "./log/log.ts";
import { createStderrWriter } from "./log/stderr_writer.ts";
import { errorStack } from "./log/error_text.ts";
import { withIdForm } from "./log/pseudonyms.ts";
import { readFileFacts, warnAboutReadableSecrets } from "./config/secret_files.ts";
import { productionDeps, type Service, startService } from "./service.ts";

const NAME = "lk-jwt-service";

const USAGE = `Usage: ${NAME} [command]

Commands:
  (none)        Run the service; every setting is an environment variable.
  healthcheck   Ask the service on this host for /healthz; exit code 0 when it answers 200.
  --version     Print the version.
  --help        Print this text.
`;

// Container runtimes kill after 10 s: leave before.
const DRAIN_TIMEOUT_MS = 8000;
const HEALTHCHECK_TIMEOUT_MS = 3000;

/**
 * Runs a command.
 *
 * @returns The exit code; a service runs until it is told to end.
 */
export async function run(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  if (rest.length > 0) return misused(`Cannot run "${args.join(" ")}": expected one command at most`);
  switch (command) {
    case undefined:
      return await serve();
    case "healthcheck":
      return await healthcheck();
    case "--version":
    case "version":
      print(`${NAME} ${manifest.version} (Deno ${Deno.version.deno})`);
      return 0;
    case "--help":
    case "-h":
    case "help":
      print(USAGE);
      return 0;
    default:
      return misused(`Cannot run "${command}": no such command`);
  }
}

async function serve(): Promise<number> {
  // Registered first: as PID 1 a process without a listener never sees SIGTERM at all, and SIGHUP would end any other.
  const stop = listenForStop();
  const hangups = listenForHangups();
  const variables = Deno.env.toObject();
  const parsed = readConfig(variables);
  if (parsed === null) return 1;
  const { config, warnings } = parsed;
  const writer = createStderrWriter();
  const log = withIdForm(openLog({ ...config.log, writer }), config.logIds);
  try {
    const readable = warnAboutReadableSecrets(variables, readFileFacts, Deno.pid === 1);
    for (const warning of [...warnings, ...readable, ...setTrust(config)]) log.warning(warning);
    surviveStrayErrors(log);
    // A store may be held by a process that is about to end: whoever stops us meanwhile does not wait for it.
    const service = await Promise.race([startService(config, productionDeps(log)), stop.requested]);
    if (typeof service === "string") return 0;
    announce(config, service, log);
    dropPermissions(config);
    hangups.onEach(() => rotateKeys({ variables, readTextFile: Deno.readTextFileSync, service, log }));

    log.info("Stopping", { signal: await stop.requested });
    const leaveAnyway = setTimeout(() => leaveNow(log, writer), DRAIN_TIMEOUT_MS);
    await service.drain();
    clearTimeout(leaveAnyway);
    log.info("Stopped");
    return 0;
  } catch (error) {
    log.error(`Cannot start: ${error instanceof Error ? error.message : error}`, { bind: formatBind(config.bind) });
    return 1;
  } finally {
    stop.dispose();
    hangups.dispose();
    closeLog({ writer });
  }
}

function readConfig(variables: Readonly<Record<string, string>>): ParsedConfig | null {
  try {
    return parseConfig(variables, (path) => Deno.readTextFileSync(path));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems) printError(problem);
    return null;
  }
}

function announce(config: Config, service: Service, log: Log): void {
  log.info(`${NAME} ${manifest.version}`, { deno: Deno.version.deno, ...describeConfig(config) });
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

interface StopRequest {
  /** Settles with the first signal's name. */
  readonly requested: Promise<string>;
  dispose(): void;
}

function listenForStop(): StopRequest {
  const { promise, resolve } = Promise.withResolvers<string>();
  const signals = ["SIGTERM", "SIGINT"] as const;
  const listeners = signals.map((signal) => [signal, () => resolve(signal)] as const);
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  return {
    requested: promise,
    dispose() {
      for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
    },
  };
}

interface Hangups {
  /** Runs something on each SIGHUP from now on, and at once when one has come before. */
  onEach(run: () => void): void;
  dispose(): void;
}

function listenForHangups(): Hangups {
  let hasCome = false;
  let run = () => {
    hasCome = true;
  };
  const listener = () => run();
  Deno.addSignalListener("SIGHUP", listener);
  return {
    onEach(wanted) {
      run = wanted;
      if (hasCome) run();
    },
    dispose: () => Deno.removeSignalListener("SIGHUP", listener),
  };
}

function leaveNow(log: Log, writer: LogWriter): void {
  log.error(`Requests were still in flight after ${DRAIN_TIMEOUT_MS / 1000} s: leaving anyway`);
  closeLog({ writer });
  Deno.exit(1);
}

// One failed promise must not end everybody's calls.
function surviveStrayErrors(log: Log): void {
  let count = 0;
  const report = (event: Event, error: unknown) => {
    event.preventDefault();
    log.error("An error reached no handler: this is a bug", { stack: errorStack(error), count: ++count });
  };
  globalThis.addEventListener("unhandledrejection", (event) => report(event, event.reason));
  globalThis.addEventListener("error", (event) => report(event, event.error));
}

/** Asks the service that this host's environment describes: the very bind that the server would parse. */
async function healthcheck(): Promise<number> {
  const port = Deno.env.get("LIVEKIT_JWT_PORT");
  const text = Deno.env.get("LIVEKIT_JWT_BIND") || (port ? `:${port}` : ":8080");
  const bind = parseBind(text);
  if (bind === null) {
    printError(`LIVEKIT_JWT_BIND is "${text}", expected :8080, host:port or unix:/path`);
    return 1;
  }
  try {
    const status = await getHealth(bind);
    if (status === 200) return 0;
    printError(`GET /healthz at ${formatBind(bind)} answered ${status}, expected 200`);
  } catch (error) {
    printError(`Cannot reach ${formatBind(bind)}: ${error instanceof Error ? error.message : error}`);
  }
  return 1;
}

function getHealth(bind: Bind): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.get({
      ...(bind.transport === "unix" ? { socketPath: bind.path } : { host: reachable(bind.hostname), port: bind.port }),
      path: "/healthz",
      agent: false,
      signal: AbortSignal.timeout(HEALTHCHECK_TIMEOUT_MS),
    }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    request.on("error", reject);
  });
}

// A server on all addresses answers on loopback, whichever family the host has.
function reachable(hostname: string): string {
  return hostname === ANY_ADDRESS || hostname === "0.0.0.0" ? "localhost" : hostname;
}

function misused(text: string): number {
  printError(text);
  printError(USAGE.trimEnd());
  return 2;
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text.trimEnd()}\n`));
}

function printError(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}
