// Checks of this service through the real proxy: each route there, methods kept, no redirect, CORS exactly once.

import { type Check, error, ok, type Question, skipped, warning } from "./check.ts";
import { type Asked, below, describe, errcodeOf, isRedirect, isWebPage, type Probe, shown } from "./probe.ts";

const ROUTES = ["/sfu/get", "/get_token", "/delegate_delayed_leave"] as const;

/** What the checks of the public URL need. */
export interface PublicUrlCheckDeps {
  readonly probe: Probe;
  /** Whether `/delegate_delayed_leave` is served. */
  readonly delegation: boolean;
}

/**
 * All of them. Sends only what no client would: nothing is created anywhere.
 *
 * @param text The URL as clients get it; null = unknown.
 */
export async function checkPublicUrl(
  text: string | null,
  { probe, delegation }: PublicUrlCheckDeps,
  signal: AbortSignal,
): Promise<Check[]> {
  const question = { id: "public.url", title: "The public URL of this service is known", asked: `the URL "${text}"` };
  if (text === null) {
    return [skipped({ ...question, asked: "--public-url, or a well-known document" }, "not given: see --public-url")];
  }
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    return [error(question, "no http or https URL", "Give the URL that stands in livekit_service_url")];
  }
  const base = new URL(text);
  const ask = (path: string, method: "GET" | "POST" | "OPTIONS") =>
    probe(
      below(base, path),
      {
        method,
        rule: "operator",
        headers: { origin: "https://call.example.com", "access-control-request-method": "POST" },
        ...(method === "POST" ? { body: "{}" } : {}),
      },
      signal,
    );
  const routes = ROUTES.filter((route) => delegation || route !== "/delegate_delayed_leave");
  const [health, read, ...rest] = await Promise.all([
    ask("/healthz", "GET"),
    ask("/sfu/get", "GET"),
    ...routes.map(async (route) => [await ask(route, "OPTIONS"), await ask(route, "POST")] as const),
  ]);
  const at = (path: string) => shown(below(base, path));
  return [
    base.protocol === "https:"
      ? ok(question, text)
      : error(question, "http:// is blocked by browsers on pages that came by https", "Serve this service by https"),
    judgeHealth(at("/healthz"), health),
    judgeMethod(at("/sfu/get"), read),
    ...rest.flatMap(([preflight, posted], index) => {
      const url = at(routes[index] ?? "");
      return [judgePreflight(url, preflight), judgePost(url, posted)];
    }),
  ];
}

/** Judges the liveness route, which may be private. */
export function judgeHealth(url: string, asked: Asked): Check {
  const question = { id: "public.healthz", title: "The proxy leads to this service", asked: `GET ${url}` };
  if (asked.outcome === "answer" && asked.response.status === 200 && !isWebPage(asked.response)) {
    return ok(question, "status 200");
  }
  return skipped(question, `${describe(asked)}: not public, which is fine where the routes below are`);
}

/** Judges a GET where only POST is served: 405 comes from this service. */
export function judgeMethod(url: string, asked: Asked): Check {
  const question = { id: "public.route", title: "The proxy passes the path", asked: `GET ${url}` };
  if (asked.outcome === "no-answer") {
    return error(
      question,
      asked.message,
      "Make the proxy reachable; where only this host can't (hairpin NAT), run the " +
        "doctor elsewhere with the same --public-url",
    );
  }
  if (asked.response.status === 405 && errcodeOf(asked.response) !== null) return ok(question, "status 405");
  return wrongRoute(question, asked);
}

/** Judges a preflight: 200, and the origin allowed exactly once. */
export function judgePreflight(url: string, asked: Asked): Check {
  const question = { id: "public.cors", title: "Web clients may call the route", asked: `OPTIONS ${url}` };
  if (asked.outcome === "no-answer") return skipped(question, asked.message);
  const { status, headers } = asked.response;
  const origin = headers["access-control-allow-origin"];
  if (status !== 200 && status !== 204) return wrongRoute(question, asked);
  if (origin === "*") return ok(question, "Access-Control-Allow-Origin: *, once");
  if (origin === undefined) {
    return error(question, "no Access-Control-Allow-Origin", "Have the proxy keep this service's CORS headers");
  }
  return error(
    question,
    `Access-Control-Allow-Origin: ${origin.slice(0, 100)}`,
    "Take the CORS headers out of the proxy: this service sends them, and browsers refuse them twice",
  );
}

/** Judges a POST without content: 400 with an errcode comes from this service. */
export function judgePost(url: string, asked: Asked): Check {
  const question = { id: "public.post", title: "The proxy passes POST", asked: `POST ${url}` };
  if (asked.outcome === "no-answer") return skipped(question, asked.message);
  const { response } = asked;
  if (response.status === 400 && errcodeOf(response) !== null) return ok(question, describe(asked));
  if (response.status === 429 || response.status === 503) {
    return warning(question, describe(asked), "Ask again when the service is less busy");
  }
  return wrongRoute(question, asked);
}

function wrongRoute(question: Question, asked: Asked): Check {
  if (asked.outcome === "answer" && isRedirect(asked.response)) {
    return error(
      question,
      describe(asked),
      "Have the proxy answer without a redirect: it turns POST into GET (check slashes and http against https)",
    );
  }
  if (asked.outcome === "answer" && (asked.response.status === 502 || asked.response.status === 504)) {
    return error(
      question,
      describe(asked),
      "Have the proxy lead to the address of LIVEKIT_JWT_BIND, and start the service",
    );
  }
  return error(
    question,
    describe(asked),
    "Route /sfu/get, /get_token, /delegate_delayed_leave (and /sfu_webhook) below this URL to this service, with or " +
      "without the prefix",
  );
}
