// docs/openapi.yaml against the real process: whatever is sent, no answer is a 5xx, and each is one that the
// description knows, to its headers and its schema.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { DevelopmentHomeserver, type OpenIdToken } from "../../testing/fake_homeserver.ts";
import { DevelopmentSfu } from "../../testing/fake_sfu.ts";
import { Schemathesis } from "./stack/schemathesis.ts";
import { startService } from "./stack/service.ts";

const FILE = fileURLToPath(new URL("../../docs/openapi.yaml", import.meta.url));
const DESCRIPTION: unknown = parse(Deno.readTextFileSync(FILE));
const SEED = 20_261_124;
const ROUTES = ["/sfu/get", "/get_token", "/delegate_delayed_leave"];
const MAX_EXAMPLES = 200;

/** The description with a token that is good here: in its examples, and now and then in what is made up. */
function withToken(token: OpenIdToken, user: string): string {
  const either = (schema: { readonly [key: string]: unknown }, value: string) => ({
    anyOf: [{ const: value }, schema],
  });
  return JSON.stringify(DESCRIPTION, (key, value) => {
    switch (key) {
      case "openid_token":
        return "access_token" in value ? token : value;
      case "claimed_user_id":
        return typeof value === "string" ? user : either(value, user);
      case "access_token":
      case "matrix_server_name":
        return typeof value === "string" ? value : either(value, token[key]);
      default:
        return value;
    }
  });
}

Deno.test("docs/openapi.yaml means the same to readers in two languages", async () => {
  const schemathesis = await Schemathesis.open();
  assert.deepEqual(await schemathesis.readYaml(FILE), DESCRIPTION);
});

Deno.test("whatever is sent, the answer is one that docs/openapi.yaml describes", async () => {
  const schemathesis = await Schemathesis.open();
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-openapi-" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const authority = await CertificateAuthority.create();
  const certificate = await authority.issue({ dnsNames: ["localhost"] });
  const homeserver = stack.use(await DevelopmentHomeserver.start({ certificate }));
  const sfu = stack.use(await DevelopmentSfu.start());
  await Deno.writeTextFile(`${folder}/ca.pem`, authority.certificate);
  const service = stack.use(
    await startService({
      LIVEKIT_DELEGATION: "on",
      LIVEKIT_URL: sfu.url,
      LIVEKIT_KEY: sfu.apiKey,
      LIVEKIT_SECRET: sfu.apiSecret,
      LIVEKIT_FULL_ACCESS_HOMESERVERS: homeserver.serverName,
      LIVEKIT_CS_API_URL_OVERRIDES: `${homeserver.serverName}=${homeserver.url.origin}`,
      LIVEKIT_ALLOWED_HOMESERVERS: homeserver.serverName, // no name that is made up is looked up
      LIVEKIT_EXTRA_CA_FILE: `${folder}/ca.pem`,
    }),
  );

  const description = `${folder}/openapi.json`;
  const token = homeserver.mintOpenIdToken("alice");
  await Deno.writeTextFile(description, withToken(token, `@alice:${homeserver.serverName}`));
  const counts = await schemathesis.run({
    url: service.url,
    description,
    maxExamples: MAX_EXAMPLES,
    seed: SEED,
    folder,
  });

  console.log(Object.fromEntries([...counts].sort()));
  for (const reached of [200, 400, 401, 403].flatMap((status) => ROUTES.map((route) => `POST ${route} ${status}`))) {
    assert.ok((counts.get(reached) ?? 0) > 0, `${reached} was never reached`);
  }
  assert.doesNotMatch(service.output(10_000), /this is a bug/);
});
