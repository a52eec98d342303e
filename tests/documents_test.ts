// The documents among themselves and against the service: links lead somewhere, and what they quote is what is said.

import assert from "node:assert/strict";
import { VARIABLES } from "../lib/config/variables.ts";

const ROOT = new URL("../", import.meta.url).pathname;

function filesIn(folder: string, ending: string): string[] {
  return [...Deno.readDirSync(ROOT + folder)].flatMap(({ name, isDirectory }) => {
    const path = folder === "" ? name : `${folder}/${name}`;
    if (isDirectory) return name.startsWith(".") || name === "coverage" ? [] : filesIn(path, ending);
    return name.endsWith(ending) ? [path] : [];
  });
}

const read = (path: string) => Deno.readTextFileSync(ROOT + path);
const pages = filesIn("", ".md");
const withoutCode = (text: string) => text.replace(/^```[^]*?^```$/gm, "");

/** The anchors that a reader of the page can link to: those that it sets, and those that GitHub makes of its headings. */
function anchorsOf(page: string): Set<string> {
  const text = withoutCode(read(page));
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => heading);
  return new Set([
    ...headings.map((heading) => heading.toLowerCase().replace(/[^\p{L}\p{N}\- _]/gu, "").replaceAll(" ", "-")),
    ...[...text.matchAll(/<a id="([^"]+)">/g)].map(([, id = ""]) => id),
  ]);
}

for (const page of pages) {
  Deno.test(`every link in ${page} leads to a file and a heading that are there`, () => {
    const folder = page.includes("/") ? page.slice(0, page.lastIndexOf("/") + 1) : "";
    for (const [, link = ""] of withoutCode(read(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const [path = "", anchor] = link.split("#");
      const target = path === "" ? page : new URL(path, `file:///${folder}`).pathname.slice(1);
      assert.ok(Deno.statSync(ROOT + target), `${link} in ${page}`);
      if (anchor !== undefined) assert.ok(anchorsOf(target).has(anchor), `${link} in ${page} has no such heading`);
    }
  });
}

Deno.test("docs/troubleshooting.md has every text that a client is answered with", () => {
  const page = read("docs/troubleshooting.md");
  const texts = [...read("docs/openapi.yaml").matchAll(/ error: ("[^\n]*?")(?: \}|,?$)/gm)].map(([, text = ""]) =>
    text
  );
  assert.ok(texts.length > 20, "few texts found: is the pattern of this test right?");
  for (const text of texts) assert.ok(page.includes(JSON.parse(text)), text);
});

Deno.test("every line of the log that the documents explain is one that the service writes", () => {
  const sources = filesIn("lib", ".ts").map(read).join("\n");
  for (const page of ["README.md", "docs/troubleshooting.md", "docs/delegated-leave.md"]) {
    const tables = read(page).split(/\n\n/).filter((block) => /^\| (?:Log line|Line) /.test(block));
    const lines = tables.flatMap((table) => [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, line = ""]) => line));
    assert.ok(lines.length > 0, page);
    for (const line of lines) assert.ok(sources.includes(`"${line}`), `${page}: ${line}`);
  }
});

Deno.test("docs/upgrading.md tells of every variable of 0.6.0", () => {
  const page = read("docs/upgrading.md");
  const known = new Set<string>(VARIABLES.map(({ name }) => name));
  for (
    const name of [
      "LIVEKIT_URL",
      "LIVEKIT_KEY",
      "LIVEKIT_KEY_FROM_FILE",
      "LIVEKIT_SECRET",
      "LIVEKIT_SECRET_FROM_FILE",
      "LIVEKIT_KEY_FILE",
      "LIVEKIT_JWT_BIND",
      "LIVEKIT_JWT_PORT",
      "LIVEKIT_FULL_ACCESS_HOMESERVERS",
      "LIVEKIT_LOG_LEVEL",
      "LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS",
      "LIVEKIT_CS_API_URL_OVERRIDES",
      "LIVEKIT_REDIS_URL",
      "LIVEKIT_INSECURE_SKIP_VERIFY_TLS",
    ]
  ) assert.ok(page.includes(`\`${name}\``) && known.has(name), name);
});
