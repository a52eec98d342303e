// The record of answers to a fixed set of requests: a line each in recorded_answers.jsonl.

import type { World } from "../../testing/worlds.ts";

/** One line of the record. */
export interface RecordedAnswer {
  readonly name: string;
  readonly world: World;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The request's body: as text, as bytes, or as so many times the letter x. */
  readonly body?: string;
  readonly base64?: string;
  readonly fill?: number;
  readonly answer: Answer;
}

/** All of an answer. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The whole record, in its order. */
export function readRecord(): RecordedAnswer[] {
  const text = Deno.readTextFileSync(new URL("./recorded_answers.jsonl", import.meta.url));
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}
