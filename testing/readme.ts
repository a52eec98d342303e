// The README's examples, read out of its code blocks.

const README = new URL("../README.md", import.meta.url);

/** The code blocks of a language, in order. */
export function codeBlocks(language: string): string[] {
  const text = Deno.readTextFileSync(README);
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
