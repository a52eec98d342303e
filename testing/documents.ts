// Examples of the project's documents, read out of their code blocks.

/** The root of the repository. */
const ROOT = new URL("../", import.meta.url);

/** The code blocks of a language, in order. */
export function codeBlocks(language: string, page = "README.md"): string[] {
  const text = Deno.readTextFileSync(new URL(page, ROOT));
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].flatMap(([, found, code = ""]) =>
    found === language ? [code] : []
  );
}

/** The variables that a block of shell assigns; null when it does something else. */
export function assignments(block: string): Record<string, string> | null {
  const lines = block.trim().split("\n");
  const pairs = lines.map((line) => /^([A-Z_]+)=("?)(.*)\2$/.exec(line));
  if (pairs.some((pair) => pair === null)) return null;
  return Object.fromEntries(pairs.map((pair) => [pair?.[1] ?? "", pair?.[3] ?? ""]));
}

/** The variables that a `docker run` passes on with `--env`. */
export function passedVariables(command: string): Record<string, string> {
  const pairs = [...command.matchAll(/--env ([A-Z_]+)=("?)(.*?)\2 \\$/gm)];
  return Object.fromEntries(pairs.map(([, name = "", , value = ""]) => [name, value]));
}
