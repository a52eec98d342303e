// A stage for a campaign: homeservers, an SFU, one service or several replicas of it, and people; and how a campaign ends,
// with everybody gone and every event accounted for.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { Variables } from "../../testing/service_process.ts";
import { Homeservers } from "../../testing/fake_homeservers.ts";
import { type Neighbourhood, People, type Story } from "./people.ts";
import { type Life, Replica } from "./replica.ts";
import { CallSfu } from "./sfu.ts";
import { judge, type Standing, standingOf, type Verdict } from "./verdict.ts";

/** What a stage is built of. */
export interface StageOptions extends Pick<Neighbourhood, "delaysMs" | "maxStayMs"> {
  /** Names of the replicas. */
  readonly replicas: readonly string[];
  /** Of each replica: where its store is. */
  readonly store: Variables;
  readonly homeservers: number;
  /** LiveKit holds back what it has to tell of a room while it can't: many rooms, short queues. */
  readonly rooms: number;
}

/** States of a job. */
export const STATES = ["waiting", "connected", "leaving"] as const;

/** Kills, and how many of them hit a job in each state at least. */
export type Kills = Record<typeof STATES[number] | "all", number>;

/** Everything a campaign needs. */
export class Stage implements AsyncDisposable {
  readonly kills: Kills = { all: 0, waiting: 0, connected: 0, leaving: 0 };
  readonly #parts: AsyncDisposableStack;

  private constructor(
    parts: AsyncDisposableStack,
    readonly homeservers: Homeservers,
    readonly sfu: CallSfu,
    readonly replicas: readonly Replica[],
    readonly people: People,
  ) {
    this.#parts = parts;
  }

  /** Builds one; no replica runs yet, and nobody calls. */
  static async build(options: StageOptions): Promise<Stage> {
    await using parts = new AsyncDisposableStack();
    const homeservers = parts.use(await Homeservers.start(options.homeservers));
    const replicas: Replica[] = [];
    // As a load balancer picks one.
    const serviceUrl = () => {
      const urls = replicas.flatMap(({ url }) => url ?? []);
      return urls[Math.floor(Math.random() * urls.length)] ?? null;
    };
    const sfu = parts.use(await CallSfu.start(serviceUrl));
    for (const name of options.replicas) {
      const variables = (life: string) => ({ ...sfu.variables, ...homeservers.variables(life), ...options.store });
      replicas.push(parts.use(new Replica(name, variables)));
    }
    const isAlive = (life: string) =>
      replicas.some(({ lives }) => lives.some(({ name, killedAt }) => name === life && killedAt === null));
    const people = new People({ ...options, homeservers, sfu, serviceUrl, isAlive });
    return new Stage(parts.move(), homeservers, sfu, replicas, people);
  }

  /** All processes there have been. */
  get lives(): Life[] {
    return this.replicas.flatMap(({ lives }) => lives);
  }

  /** Kills a replica, and notes in which states its jobs were. */
  async kill(replica: Replica): Promise<void> {
    const name = replica.life?.name ?? "";
    const standings = new Set<Standing>(this.people.stories.map((story) => standingOf(story, name)));
    await replica.kill();
    this.kills.all++;
    for (const state of STATES) if (standings.has(state)) this.kills[state]++;
  }

  /** Everybody leaves; resolves when the homeservers have no event left, or when the time is up. */
  async end(withinMs: number): Promise<void> {
    await this.people.end();
    const giveUpAt = performance.now() + withinMs;
    while (this.#isOpen() && performance.now() < giveUpAt) await sleepFor(50);
  }

  /**
   * When another process went on with a job of one that ended: it called the job's homeserver, or asked who is in its room;
   * null when none did. The processes log at level debug.
   */
  wentOnAt({ event, room }: Story, life: string, endedAt: number): number | null {
    const calls = event.calls.filter((call) => call.life !== life).map(({ at }) => at);
    const listings = this.lives.filter(({ name }) => name !== life).flatMap(({ process }) =>
      process.output.split("\n").filter((line) => line.includes("Listed a room") && line.includes(`room=${room} `))
        .map((line) => Date.parse(line.split(" ", 1)[0] ?? "") - performance.timeOrigin)
    );
    const later = [...calls, ...listings].filter((at) => at > endedAt);
    return later.length > 0 ? Math.min(...later) : null;
  }

  /** What became of everything; also fails when the service found a bug in itself, or refused somebody. */
  judge(): Verdict {
    const verdict = judge(this.people.stories, this.lives);
    const bugs = this.replicas.flatMap((replica) => replica.linesAbout("this is a bug"));
    assert.deepEqual([this.people.refusals, bugs], [[], []]);
    return verdict;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }

  #isOpen(): boolean {
    return this.people.stories.some(({ event, acknowledgedAt, supersededAt }) =>
      acknowledgedAt !== null && supersededAt === null && this.homeservers.settle(event).end === null
    );
  }
}

/** Sums up campaigns on one line. */
export function summary(title: string, kills: readonly Kills[], verdicts: readonly Verdict[]): string {
  const killed = (key: keyof Kills) => kills.reduce((sum, counts) => sum + counts[key], 0);
  const count = (key: Exclude<keyof Verdict, "violations" | "repeats">) =>
    verdicts.reduce((sum, counts) => sum + counts[key], 0);
  const states = STATES.map((state) => `${state} ${killed(state)}`).join(", ");
  return `${title}: ${killed("all")} kills (${states}); ${count("acknowledged")} events acknowledged, ` +
    `${count("superseded")} superseded, ${count("sentOnce")} sent once, ${count("sentAgain")} sent again after the ` +
    `answer was lost (of those ${count("unnoted")} not noted yet)`;
}
