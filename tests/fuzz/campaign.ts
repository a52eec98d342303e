// One fuzzing campaign: so many cases from a seed, each run to its end, counted by what came of it, with an eye on the
// heap. Prints its seed, so that a failure can be had again: FUZZ_SEED=… deno task fuzz.

import assert from "node:assert/strict";
import v8 from "node:v8";
import vm from "node:vm";
import fc from "fast-check";

/** A case, and whether it is a good one with one thing wrong. */
export interface Case<Input> {
  readonly input: Input;
  readonly isMutated: boolean;
}

/** What a campaign is. */
export interface Campaign<Input> {
  readonly name: string;
  readonly cases: number;
  readonly arbitrary: fc.Arbitrary<Case<Input>>;
  /** Runs one case and names what came of it; throws when that must not be. */
  readonly run: (input: Input) => Promise<string> | string;
  /** Lets go of what recorded the last batch. */
  readonly tidy?: () => void;
  /** Outcomes that a campaign must reach, each at least 20 times: one that never gets past the door proves nothing. */
  readonly mustReach: readonly string[];
}

const DEFAULT_SEED = 20_261_124;
const BATCH = 500;
const ENOUGH = 20;

/** By how much what lives on the heap may grow over the last three quarters of a campaign. */
const MAX_HEAP_GROWTH_MIB = 8;

/** Runs a campaign; fails on the first case that breaks it. */
export async function run<Input>(campaign: Campaign<Input>): Promise<void> {
  const { name, cases, arbitrary, mustReach } = campaign;
  const seed = Number(Deno.env.get("FUZZ_SEED") ?? DEFAULT_SEED);
  const stray: unknown[] = [];
  const onStray = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    stray.push(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", onStray);

  const outcomes = new Map<string, number>();
  let before = 0;
  let mutated = 0;
  try {
    for (let done = 0; done < cases; done += BATCH) {
      const batch = fc.sample(arbitrary, { seed: seed + done, numRuns: Math.min(BATCH, cases - done) });
      for (const { input, isMutated } of batch) {
        if (isMutated) mutated++;
        const outcome = await outcomeOf(campaign, input, seed);
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }
      campaign.tidy?.();
      await new Promise((resolve) => setTimeout(resolve, 0)); // stray rejections are told between turns
      if (before === 0 && done + BATCH >= cases / 4) before = heapMiB();
    }
  } finally {
    globalThis.removeEventListener("unhandledrejection", onStray);
  }

  const growthMiB = heapMiB() - before;
  console.log(
    `${name}: ${cases} cases, ${mutated} with one mutation, seed ${seed}, heap grew by ${growthMiB.toFixed(1)} MiB`,
  );
  for (const [outcome, count] of [...outcomes].sort()) console.log(`  ${String(count).padStart(6)}  ${outcome}`);
  assert.deepEqual(stray, []);
  assert.ok(mutated >= cases / 2, `${mutated} of ${cases} are good ones with one mutation`);
  assert.ok(growthMiB < MAX_HEAP_GROWTH_MIB, `The heap grew by ${growthMiB} MiB, from ${before}`);
  const missed = mustReach.filter((outcome) => (outcomes.get(outcome) ?? 0) < ENOUGH);
  assert.deepEqual(missed, []);
}

async function outcomeOf<Input>({ name, run }: Campaign<Input>, input: Input, seed: number): Promise<string> {
  try {
    return await run(input);
  } catch (error) {
    throw new Error(`${name}, seed ${seed}: ${show(input)}`, { cause: error });
  }
}

function show(input: unknown): string {
  const text = JSON.stringify(
    input,
    (_key, value) => value instanceof Uint8Array ? new TextDecoder().decode(value.subarray(0, 500)) : value,
  );
  return text.slice(0, 2000);
}

v8.setFlagsFromString("--expose-gc");
const collect: () => void = vm.runInNewContext("gc");

/** What lives on the heap. */
function heapMiB(): number {
  collect();
  return Deno.memoryUsage().heapUsed / 1024 / 1024;
}
