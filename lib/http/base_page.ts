// A page for people who open the service's address in a browser: that it is the right one, and what to check next.

import manifest from "../../deno.json" with { type: "json" };

// Names of routes, and of what is looked for beside them: their paths are wrong here, and stay 404.
const OTHER_NAMES = new Set([
  "_matrix",
  "_synapse",
  "delegate_delayed_leave",
  "get",
  "get_token",
  "healthz",
  "metrics",
  "readyz",
  "rtc",
  "sfu",
  "sfu_webhook",
  "status",
  "twirp",
]);

// Whatever a proxy left in place: nothing, or some plain segments.
const BASE_PATH = /^(?:\/+[A-Za-z0-9_~-]+){0,4}\/*$/;

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>MatrixRTC Authorization Service</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }</style>
<h1>MatrixRTC Authorization Service</h1>
<p>lk-jwt-service ${manifest.version} answers here. This is the right address: clients get it without anything behind it,
as <code>livekit_service_url</code>.</p>
<p>They use these endpoints below it:</p>
<ul>
<li><code>POST sfu/get</code> and <code>POST get_token</code>: a Matrix OpenID token for a LiveKit token
<li><code>POST delegate_delayed_leave</code>: delegates a delayed leave event
<li><code>POST sfu_webhook</code>: LiveKit's webhooks
<li><code>GET healthz</code>: 200 while the service runs
</ul>
<p>What to check next when calls do not start:</p>
<ol>
<li><code>healthz</code> below this address answers 200.
<li><code>/.well-known/matrix/client</code> of your server name has this address as <code>livekit_service_url</code> in
<code>org.matrix.msc4143.rtc_foci</code>, and allows any origin (CORS).
<li>LiveKit has <code>room.auto_create: false</code>, and its webhooks lead to <code>sfu_webhook</code> below this address.
<li>The log of this service has one line for each request, with the cause of each refusal.
</ol>
</html>
`;

/**
 * Gives the page for a GET of the base path in a browser.
 *
 * @param accept The `Accept` header.
 * @returns null for everything else.
 */
export function basePage(method: string, path: string, accept: string | null): Response | null {
  if (method !== "GET" || accept?.includes("text/html") !== true || !BASE_PATH.test(path)) return null;
  if (path.split("/").some((segment) => OTHER_NAMES.has(segment))) return null;
  return new Response(PAGE, {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    },
  });
}
