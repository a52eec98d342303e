// The page for people: shown at the service's own address in a browser, and nowhere else.

import assert from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { assertError, createFront } from "../../testing/front.ts";

const BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

function open(path: string, accept: string = BROWSER, method = "GET"): Response | Promise<Response> {
  return createFront().app(new Request(`http://service.test${path}`, { method, headers: { accept } }));
}

for (const path of ["/", "//", "/livekit/jwt", "/livekit/jwt/", "/livekit-jwt-service", "/livekit//jwt//?x=1"]) {
  Deno.test(`${path} shows the page in a browser`, async () => {
    const response = await open(path);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/html; charset=utf-8");
    assert.equal(response.headers.get("access-control-allow-origin"), "*");
    const text = await response.text();
    assert.ok(text.includes(`lk-jwt-service ${manifest.version}`) && text.includes("This is the right address"));
    for (const route of ["sfu/get", "get_token", "delegate_delayed_leave", "sfu_webhook", "healthz"]) {
      assert.ok(text.includes(route), route);
    }
    // No file of anybody else's, and no script.
    assert.doesNotMatch(text, /<(script|img|link|iframe)|https?:/);
  });
}

const NOT_HERE: readonly (readonly [path: string, accept?: string, method?: string])[] = [
  ["/", "application/json"],
  ["/", "*/*"],
  ["/", BROWSER, "POST"],
  ["/", BROWSER, "HEAD"],
  ["/favicon.ico"],
  ["/wp-login.php"],
  ["/a/b/c/d/e"],
  ["/sfu"],
  ["/sfu/get/"],
  ["/livekit/jwt/get_token/"],
  ["/metrics"],
  ["/_matrix/client/versions"],
  ["/livekit/sfu/rtc"],
  ["/%3Cscript%3E"],
];
for (const [path, accept, method] of NOT_HERE) {
  Deno.test(`${method ?? "GET"} ${path} stays 404 for ${accept ?? "a browser"}`, async () => {
    await assertError(await open(path, accept, method), 404, "M_UNRECOGNIZED", "Unrecognized request");
  });
}
