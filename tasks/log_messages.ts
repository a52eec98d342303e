// Keeps docs/log-messages.md: every message of the log with its level and fields, read from the source, and beside it what
// it means, which is written by hand there. With --check it only tells whether the page is complete and true.

const ROOT = new URL("..", import.meta.url);
const PAGE = new URL("docs/log-messages.md", ROOT);
const BEGIN = "<!-- messages: written by `deno task log-messages`, the last column by hand -->";

/** One call that writes to the log. */
interface Message {
  readonly text: string;
  readonly level: string;
  readonly fields: readonly string[];
  readonly isThrottled: boolean;
}

function sourceFiles(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory }) =>
    isDirectory ? sourceFiles(`${folder}${name}/`) : name.endsWith(".ts") ? [`${folder}${name}`] : []
  ).sort();
}

const CALL = /\b[lL]og\.(debug|info|warning|error)\(/g;
// They write what others give them.
const WRITERS = /^lib\/log\//;

function messagesOf(path: string): Message[] {
  if (WRITERS.test(path)) return [];
  const source = Deno.readTextFileSync(new URL(path, ROOT));
  return [...source.matchAll(CALL)].flatMap((call) => {
    const [, level = ""] = call;
    const before = source.slice(0, call.index);
    const [first = "", second = ""] = splitArguments(source.slice(call.index + call[0].length));
    const fields = second === "" ? "" : objectOf(second, before);
    const names = [...fields.matchAll(/(?:^|[{,]\s*)(?:readonly\s+)?([a-z_]\w*)(?=\s*[:,}])/g)].map(([, name = ""]) =>
      name
    );
    return textsOf(first, before).map((text) => ({
      text,
      level,
      fields: names.filter((name) => name !== "throttle"),
      isThrottled: names.includes("throttle"),
    }));
  });
}

/** The arguments of a call, up to its closing parenthesis. */
function splitArguments(source: string): string[] {
  const found: string[] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at < source.length; at++) {
    const character = source[at] ?? "";
    if (`"'\``.includes(character)) at = endOfText(source, at);
    else if ("([{".includes(character)) depth++;
    else if (")]}".includes(character) && depth-- === 0) return [...found, source.slice(from, at).trim()];
    else if (character === "," && depth === 0) {
      found.push(source.slice(from, at).trim());
      from = at + 1;
    }
  }
  return found;
}

function endOfText(source: string, start: number): number {
  for (let at = start + 1; at < source.length; at++) {
    if (source[at] === "\\") at++;
    else if (source[at] === source[start]) return at;
  }
  return source.length;
}

const TEXT = /^(?:"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)(?:\s*\+\s*|$)/;

/** The texts that a first argument may be: literals as they are, a name as what was given to it before. */
function textsOf(argument: string, before: string): string[] {
  let rest = argument;
  let text = "";
  for (let part = TEXT.exec(rest); part !== null; part = TEXT.exec(rest)) {
    text += (part[1] ?? part[2] ?? "").replace(/\$\{[^}]*\}/g, "…").replace(/\\(.)/g, "$1");
    rest = rest.slice(part[0].length);
  }
  if (rest === "") return [text];
  const choice = /^[^?]+\?\s*("[^"]*")\s*:\s*("[^"]*")$/s.exec(rest);
  if (choice !== null) return [...textsOf(choice[1] ?? "", ""), ...textsOf(choice[2] ?? "", "")];
  const given = valueOf(rest, before);
  return given === null ? [] : textsOf(given, "");
}

function objectOf(argument: string, before: string): string {
  const own = argument.startsWith("{") ? argument : valueOf(argument, before) ?? "";
  const spread = [...own.matchAll(/\.\.\.(\w+)(?=\s*[,}])/g)].map(([, name = ""]) => valueOf(name, before) ?? "");
  return [own.replace(/\.\.\.[\w.]+(\([^)]*\))?,?/g, ""), ...spread].join("\n");
}

/** What a name of the same file was given last. */
function valueOf(name: string, before: string): string | null {
  const at = before.lastIndexOf(`const ${name} = `);
  return at < 0 ? null : (splitArguments(before.slice(at + `const ${name} = `.length).replace(/;/, ")"))[0] ?? null);
}

const ORDER = ["error", "warning", "info", "debug"];

const page = Deno.readTextFileSync(PAGE);
const meanings = new Map(
  [...page.matchAll(/^\| (.+?) +\| (?:error|warning|info|debug).*? \| .*? \| (.*?) *\|$/gm)].map((
    [, text = "", meaning = ""],
  ) => [text, meaning]),
);
const unique = new Map<string, Message>();
for (const message of sourceFiles("lib/").flatMap(messagesOf)) {
  const key = `${message.level} ${message.text}`;
  const known = unique.get(key);
  unique.set(key, { ...message, fields: [...new Set([...(known?.fields ?? []), ...message.fields])] });
}
const messages = [...unique.values()].sort((a, b) =>
  ORDER.indexOf(a.level) - ORDER.indexOf(b.level) || (a.text < b.text ? -1 : 1)
);
const rows = messages.map(({ text, level, fields, isThrottled }) => {
  const shownLevel = `${level}${isThrottled ? ", once a minute" : ""}`;
  const shownFields = fields.map((name) => `\`${name}\``).join(" ");
  const shownText = text.replaceAll("|", "\\|");
  return `| ${shownText} | ${shownLevel} | ${shownFields} | ${meanings.get(shownText) ?? ""} |`;
});
const table = ["| Message | Level | Fields | What it means, and what to do |", "| --- | --- | --- | --- |", ...rows];
const updated = `${page.slice(0, page.indexOf(BEGIN) + BEGIN.length)}\n\n${table.join("\n")}\n`;

const missing = messages.filter(({ text }) => !meanings.get(text.replaceAll("|", "\\|")));
if (!Deno.args.includes("--check")) {
  Deno.writeTextFileSync(PAGE, updated);
  for (const { text } of missing) console.log(`To be explained: ${text}`);
} else if (missing.length > 0 || unpadded(updated) !== unpadded(page)) {
  console.error(
    "docs/log-messages.md is not what the source writes; run `deno task log-messages`, and explain what is new",
  );
  Deno.exit(1);
}

// `deno fmt` pads the columns.
function unpadded(text: string): string {
  return text.replace(/ +/g, " ").replace(/-+/g, "-");
}
