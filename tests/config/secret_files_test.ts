// Secret files that everybody can read: a warning where it is one, silence where a platform mounts them so.

import assert from "node:assert/strict";
import { readFileFacts, warnAboutReadableSecrets } from "../../lib/config/secret_files.ts";

const PATH = "/etc/lk-jwt-service/keys";

function warningsFor(mode: number | null, realPath = PATH, isInContainer = false): string[] {
  return warnAboutReadableSecrets({ LIVEKIT_KEY_FILE: PATH }, () => ({ mode, realPath }), isInContainer);
}

Deno.test("a key file that everybody can read gets a warning with its mode and the remedy", () => {
  assert.deepEqual(warningsFor(0o100644), [
    'LIVEKIT_KEY_FILE names "/etc/lk-jwt-service/keys", which every user of this host can read (mode 0644): give it to ' +
    "the service's user or group alone, such as by chmod 640",
  ]);
});

Deno.test("one that its owner and group can read gets none, nor one on a system without modes", () => {
  for (const mode of [0o600, 0o640, 0o440, 0o400, null]) assert.deepEqual(warningsFor(mode), []);
});

Deno.test("mounted secrets get none: Kubernetes', Docker's, and whatever a container of its own has", () => {
  assert.deepEqual(warningsFor(0o644, "/etc/keys/..2026_11_24_12_00_00.123/keys"), []);
  assert.deepEqual(warningsFor(0o444, "/run/secrets/keys"), []);
  assert.deepEqual(warningsFor(0o444, "/var/run/secrets/keys"), []);
  assert.deepEqual(warningsFor(0o644, PATH, true), []);
});

Deno.test("files that hold no secret, are not named, or are not there get none", () => {
  const readable = () => ({ mode: 0o644, realPath: "/x" });
  assert.deepEqual(warnAboutReadableSecrets({ LIVEKIT_KEY_FROM_FILE: "/x" }, readable, false), []);
  assert.deepEqual(warnAboutReadableSecrets({ LIVEKIT_SECRET_FROM_FILE: "" }, readable, false), []);
  assert.equal(warnAboutReadableSecrets({ LIVEKIT_SECRET_FROM_FILE: "/x" }, readable, false).length, 1);
  assert.deepEqual(warnAboutReadableSecrets({ LIVEKIT_KEY_FILE: PATH }, () => null, false), []);
});

Deno.test("the facts of a file are those of the one its links lead to", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/keys`, "a: b", { mode: 0o640 });
    await Deno.chmod(`${folder}/keys`, 0o640);
    await Deno.symlink(`${folder}/keys`, `${folder}/link`);
    const facts = readFileFacts(`${folder}/link`);
    assert.equal((facts?.mode ?? 0) & 0o777, 0o640);
    assert.equal(facts?.realPath, await Deno.realPath(`${folder}/keys`));
    assert.equal(readFileFacts(`${folder}/nothing`), null);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
