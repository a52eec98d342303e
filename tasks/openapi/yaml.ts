// Writes plain data as YAML: block style, texts in JSON's quotes (which are YAML's) unless they are plain words, long
// texts folded. Reading YAML is a library's work; writing this much of it is not.

/** What a document is made of. */
export type Data = string | number | boolean | null | readonly Data[] | { readonly [key: string]: Data };

const WIDTH = 110;
// No number, no boolean, no null, and nothing that means something to YAML 1.1 or 1.2.
const PLAIN = /^(?!(?:true|false|null|yes|no|on|off|y|n)$)[A-Za-z/$][\w/$.{}-]*(?: [\w(][\w/$.,()-]*)*$/i;

/** The text of a document, with a line feed at its end. */
export function toYaml(data: Data): string {
  return `${block(data, 0).trim()}\n`;
}

function block(data: Data, depth: number): string {
  const pad = "  ".repeat(depth);
  if (Array.isArray(data)) {
    if (data.length === 0) return " []";
    if (data.every((item) => typeof item !== "object")) return ` [${data.map(scalar).join(", ")}]`;
    // The first line of what belongs to an item stands beside its dash.
    return data.map((item: Data) => `\n${pad}-${beside(block(item, depth + 1))}`).join("");
  }
  if (typeof data === "object" && data !== null) {
    const entries = Object.entries(data);
    if (entries.length === 0) return " {}";
    return entries.map(([key, value]) => `\n${pad}${scalar(key)}:${block(value, depth + 1)}`).join("");
  }
  if (typeof data === "string" && data.length > WIDTH - pad.length && !/[^ -~\n]|^\s|\s$| {2}/.test(data)) {
    return folded(data, pad);
  }
  return ` ${scalar(data as string | number | boolean | null)}`;
}

function beside(text: string): string {
  return text.startsWith("\n") ? ` ${text.trimStart()}` : text;
}

function scalar(value: Data): string {
  return typeof value === "string" && PLAIN.test(value) ? value : JSON.stringify(value);
}

// ">-" joins lines with a space; an empty line stands for a line feed.
function folded(text: string, pad: string): string {
  const lines = text.split("\n").flatMap((paragraph, index) => [...(index === 0 ? [] : [""]), ...wrap(paragraph, pad)]);
  return ` >-${lines.map((line) => line === "" ? "\n" : `\n${pad}${line}`).join("")}`;
}

function wrap(paragraph: string, pad: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of paragraph.split(" ")) {
    if (line !== "" && pad.length + line.length + word.length >= WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
