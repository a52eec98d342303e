// Reads a Dockerfile far enough to ask what an image promises: its stages, and each stage's instructions.

/** One instruction: `COPY --from=layout / /` is COPY and the rest. */
export interface Instruction {
  readonly name: string;
  /** What follows the name, continuation lines joined by one space. */
  readonly text: string;
}

/** What stands between one FROM and the next, the FROM itself first. */
export type Stage = readonly Instruction[];

/** Splits a Dockerfile into its stages. Comments go, heredocs are not understood. */
export function parseDockerfile(text: string): Stage[] {
  const lines = text.replaceAll(/^\s*#.*\n/gm, "").replaceAll(/\s*\\\n\s*/g, " ").split("\n");
  const stages: Instruction[][] = [];
  for (const line of lines) {
    const match = /^(\w+)\s+(.+)$/.exec(line.trim());
    if (match === null) continue;
    const [, name = "", rest = ""] = match;
    if (name === "FROM") stages.push([]);
    stages.at(-1)?.push({ name, text: rest.trim() });
  }
  return stages;
}

/** The texts of all instructions of a name in a stage. */
export function textsOf(stage: Stage, name: string): string[] {
  return stage.filter((instruction) => instruction.name === name).map(({ text }) => text);
}
