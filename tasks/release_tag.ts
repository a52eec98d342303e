// Refuses to release under a tag that is not the version in deno.json, which the executable prints and nothing repairs
// later.
// Usage: deno task release-tag v1.2.3
import manifest from "../deno.json" with { type: "json" };

const [tag = ""] = Deno.args;
const expected = `v${manifest.version}`;
if (tag !== expected) {
  console.error(
    `Cannot release tag "${tag}": deno.json has version "${manifest.version}", expected the tag "${expected}"`,
  );
  Deno.exit(1);
}
