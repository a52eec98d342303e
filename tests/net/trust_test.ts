// Trust: the extra CA file, SSL_CERT_DIR, and what happens with folders that are not there.

import assert from "node:assert/strict";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { setTrust, splitPem } from "../../lib/net/trust.ts";
import { authority, failureOf, openClient, request, serveHttps } from "../../testing/loopback.ts";

const NO_SOURCES = { certificateDirs: undefined, extraCertificates: undefined };

/** Whether a fresh client trusts this test's authority. */
async function isTrusted(port: number): Promise<boolean> {
  using client = openClient();
  return await failureOf(client, request(port)) === "status 200";
}

Deno.test("an authority is trusted by the extra CA file or by SSL_CERT_DIR, and by neither without them", async () => {
  await using server = await serveHttps({ dnsNames: ["server.example"] }, (_, res) => res.end("{}"));
  assert.deepEqual(setTrust(NO_SOURCES), []);
  assert.equal(await isTrusted(server.port), false);

  const other = await CertificateAuthority.create("Other CA");
  const extraCertificates = `# a comment\n${other.certificate}\n${authority.certificate}`;
  assert.deepEqual(setTrust({ ...NO_SOURCES, extraCertificates }), []);
  assert.equal(await isTrusted(server.port), true);

  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/a-folder`);
    await Deno.writeTextFile(`${folder}/authority.crt`, authority.certificate);
    await Deno.writeFile(`${folder}/binary.der`, new Uint8Array([0xff, 0xfe, 0]));
    await Deno.symlink(`${folder}/nowhere`, `${folder}/5ed36f99.0`);
    await Deno.symlink(`${folder}/nowhere`, `${folder}/dangling.pem`);
    const warnings = setTrust({ ...NO_SOURCES, certificateDirs: `${folder}/missing:${folder}:` });
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", /^Cannot read SSL_CERT_DIR ".*\/missing": /);
    assert.equal(await isTrusted(server.port), true);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a PEM text is split into its certificates, whatever stands between them", async () => {
  const { certificate } = await CertificateAuthority.create();
  const trusted = certificate.replaceAll("CERTIFICATE", "TRUSTED CERTIFICATE");
  const key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----";
  assert.deepEqual(splitPem(""), []);
  assert.deepEqual(splitPem(key), []);
  assert.deepEqual(splitPem(`x\n${certificate}\n${key}\n${trusted}\n`), [certificate, trusted]);
});
