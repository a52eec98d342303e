// What Redis has not been told yet about jobs of ours: the last change of each, written soon and together with others, and
// kept for as long as Redis is away.

import type { JobKey } from "../../machine/job.ts";
import type { StoredJob } from "../store.ts";
import { encodeJob, fieldOf, type StoredTexts } from "../stored_job.ts";
import { type RedisCommands, shardOf, shardOfField, type Write, type WriteResult } from "./commands.ts";

/** What the changes need from outside. */
export interface RedisChangesDeps {
  readonly commands: Pick<RedisCommands, "write">;
  /** The fencing token of a shard; empty when it is not ours. */
  readonly tokenOf: (shard: number) => string;
  /** Takes what became of each write but those that are simply done. */
  readonly onResult: (write: Write, result: WriteResult) => void;
}

type Change = Omit<Write, "token" | "value"> & { readonly value: () => string };

const BATCH = 100;
// A removal that is forgotten is made good by the homeserver, which says that the event is gone.
const MAX_REMOVALS = 2000;

/** Keeps changes until they are written. */
export class RedisChanges {
  readonly #deps: RedisChangesDeps;
  readonly #changes = new Map<string, Change>();
  readonly #removals = new Set<string>();
  #flushing: Promise<void> | null = null;

  constructor(deps: RedisChangesDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#changes.size;
  }

  put(job: StoredJob): void {
    const shard = shardOf(job.room);
    this.#set({ action: "put", shard, field: fieldOf(job), delayId: job.delayId, value: () => encodeJob(job).value });
  }

  remove(key: JobKey, delayId: string): void {
    const field = fieldOf(key);
    this.#set({ action: "remove", shard: shardOf(key.room), field, delayId, value: () => "" });
    this.#removals.add(field);
    const oldest = this.#removals.values().next();
    if (this.#removals.size > MAX_REMOVALS && !oldest.done) this.forget(oldest.value);
  }

  /** Removes a value that is no job. */
  drop({ field, value }: StoredTexts): void {
    const shard = shardOfField(field);
    if (shard !== null) this.#set({ action: "drop", shard, field, delayId: "", value: () => value });
  }

  /** Whether this very job is still to be removed. */
  removes(field: string, delayId: string): boolean {
    const change = this.#changes.get(field);
    return change?.action === "remove" && change.delayId === delayId;
  }

  /** Whether there is a change of this job to be written. */
  has(field: string): boolean {
    return this.#changes.has(field);
  }

  /** Drops a change. */
  forget(field: string): void {
    this.#changes.delete(field);
    this.#removals.delete(field);
  }

  /**
   * Writes all there is; what is not written is kept.
   *
   * @throws RedisError
   */
  flush(): Promise<void> {
    this.#flushing ??= this.#flush().finally(() => this.#flushing = null);
    return this.#flushing;
  }

  async #flush(): Promise<void> {
    while (this.#changes.size > 0) {
      const batch = [...this.#changes.values().take(BATCH)];
      const writes = batch.map((change) => {
        return { ...change, token: this.#deps.tokenOf(change.shard), value: change.value() };
      });
      const results = await this.#deps.commands.write(writes);
      for (const [i, change] of batch.entries()) {
        // A later change of the same job is still to be written.
        if (this.#changes.get(change.field) === change) this.forget(change.field);
        const [write, result] = [writes[i], results[i]];
        if (write !== undefined && result !== undefined && result.outcome !== "done") {
          this.#deps.onResult(write, result);
        }
      }
    }
  }

  #set(change: Change): void {
    this.forget(change.field);
    this.#changes.set(change.field, change);
  }
}
