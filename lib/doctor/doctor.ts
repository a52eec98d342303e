// `lk-jwt-service doctor`: all checks of a set-up side by side, and their report. Binds nothing, opens no store, and is
// safe beside a running service.

import { within } from "../async/deadline.ts";
import { errorText } from "../log/error_text.ts";
import { parseServerName } from "../matrix/server_name.ts";
import { type Check, error } from "./check.ts";
import { checkClientApi, type ClientApiCheckDeps } from "./client_api_checks.ts";
import { checkHomeserver, type HomeserverCheckDeps } from "./homeserver_checks.ts";
import { checkPublicUrl } from "./public_url_checks.ts";
import { checkSfu, type SfuCheckDeps } from "./sfu_checks.ts";

/** What the operator asked for. */
export interface DoctorOptions {
  readonly serverNames: readonly string[];
  /** Null = that of the well-known document. */
  readonly publicUrl: string | null;
  readonly json: boolean;
}

/** What an examination needs. */
export interface ExaminationDeps {
  readonly sfu: SfuCheckDeps;
  readonly homeserver: HomeserverCheckDeps;
  readonly clientApi: Omit<ClientApiCheckDeps, "publicUrl">;
  readonly delegation: boolean;
  /** Checks of the service's own surroundings. */
  readonly checkOwn: (signal: AbortSignal) => Promise<readonly Check[]>;
  /** Told of each part that is done. */
  readonly onProgress: (part: string) => void;
}

/** What came of an examination. */
export interface Examination {
  readonly checks: readonly Check[];
  /** Where clients reach this service, as far as it is known. */
  readonly publicUrl: string | null;
  /** The client-server API of the first homeserver that names it. */
  readonly baseUrl: string | null;
}

/** All checks together end by then, in ms. */
export const EXAMINATION_TIMEOUT_MS = 30_000;

/**
 * Parses what follows `doctor` on the command line.
 *
 * @returns The text of the problem when it can't be understood.
 */
export function parseDoctorArguments(args: readonly string[]): DoctorOptions | string {
  const serverNames: string[] = [];
  let publicUrl: string | null = null;
  let json = false;
  const rest = args.flatMap((arg) => {
    const [, name, value] = /^(--[a-z-]+)=(.*)$/s.exec(arg) ?? [];
    return name === undefined || value === undefined ? [arg] : [name, value];
  });
  while (rest.length > 0) {
    const name = rest.shift();
    if (name === "--json") {
      json = true;
      continue;
    }
    const value = rest.shift();
    if (name !== "--server-name" && name !== "--public-url") return `Cannot use "${name}": no such option of doctor`;
    if (value === undefined || value === "") return `Cannot use "${name}" alone: expected a value behind it`;
    if (name === "--server-name") serverNames.push(value);
    else publicUrl = value;
  }
  return { serverNames, publicUrl, json };
}

/**
 * Runs all checks side by side.
 *
 * @param entries Server names as the operator wrote them, in the configuration and on the command line.
 * @param signal The deadline: what is not done by then is told as an error.
 */
export async function examine(
  entries: readonly string[],
  publicUrl: string | null,
  deps: ExaminationDeps,
  signal: AbortSignal,
): Promise<Examination> {
  const part = async (id: string, what: string, run: () => Promise<readonly Check[]>): Promise<readonly Check[]> => {
    const checks = await inTime(id, what, run, signal);
    deps.onProgress(what);
    return checks;
  };
  const advertised: (string | null)[] = [];
  const baseUrls: (string | null)[] = [];
  const perServer = entries.map(async (entry, index) => {
    const name = parseServerName(entry);
    const [federation, clientApi] = await Promise.all([
      part("homeserver.checks", `federation of ${entry}`, () => checkHomeserver(entry, deps.homeserver, signal)),
      name === null ? [] : part("homeserver.client_checks", `client API of ${entry}`, async () => {
        const found = await checkClientApi(name, { ...deps.clientApi, publicUrl }, signal);
        advertised[index] = found.advertisedUrl;
        baseUrls[index] = found.baseUrl;
        return found.checks;
      }),
    ]);
    return [...federation, ...clientApi];
  });
  const [own, sfu, ...homeservers] = await Promise.all([
    part("own.checks", "this service", () => deps.checkOwn(signal)),
    part("sfu.checks", "LiveKit", () => checkSfu(deps.sfu, signal)),
    ...perServer,
  ]);
  // That of the first server which names one, whichever answered first.
  const first = (urls: readonly (string | null)[]) => urls.find((url) => url != null) ?? null;
  const known = publicUrl ?? first(advertised);
  const { probe } = deps.sfu;
  const proxy = await part("public.checks", "the proxy", () => checkPublicUrl(known, { ...deps, probe }, signal));
  return { checks: [...own, ...sfu, ...homeservers.flat(), ...proxy], publicUrl: known, baseUrl: first(baseUrls) };
}

async function inTime(
  id: string,
  what: string,
  run: () => Promise<readonly Check[]>,
  signal: AbortSignal,
): Promise<readonly Check[]> {
  try {
    return await within(run(), signal);
  } catch (failure) {
    const question = { id, title: `The checks of ${what} are done`, asked: what };
    const told = signal.aborted ? `not done within ${EXAMINATION_TIMEOUT_MS / 1000} s` : errorText(failure);
    return [error(question, told, "Run the doctor again; if it stays so, report it as a bug with this line")];
  }
}
