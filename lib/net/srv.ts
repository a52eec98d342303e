// SRV records: the look-up with its three outcomes, and the order in which targets are tried (RFC 2782).

/** One SRV record, its target without the trailing dot. */
export interface SrvRecord {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly target: string;
}

/**
 * What a look-up found.
 * - `records`: at least one target.
 * - `none`: the name does not exist, or has no SRV record (a server failure reads the same here).
 * - `unavailable`: the single target "." says that the service does not exist at this name.
 */
export type SrvAnswer =
  | { readonly outcome: "records"; readonly records: readonly SrvRecord[] }
  | { readonly outcome: "none" }
  | { readonly outcome: "unavailable" };

/** Asks the resolver; rejects when no answer came (a time-out is not "none"). */
export type SrvResolver = (name: string, signal: AbortSignal) => Promise<readonly SrvRecord[]>;

// A hostile zone may list hundreds of targets, each of which would be dialed.
const MAX_RECORDS = 16;
// Answers are remembered. A DNS name has 253 characters at most, those of homeservers some twenty.
const MAX_TARGETS_CHARACTERS = 1024;

/** Sorts a resolver's records into a {@link SrvAnswer}. */
export function classifySrv(records: readonly SrvRecord[]): SrvAnswer {
  const targets = records
    .map((record) => ({ ...record, target: record.target.replace(/\.$/, "") }))
    .sort((left, right) => left.priority - right.priority)
    .slice(0, MAX_RECORDS);
  while (targets.reduce((sum, { target }) => sum + target.length, 0) > MAX_TARGETS_CHARACTERS) targets.pop();
  if (targets.length === 0) return { outcome: "none" };
  const usable = targets.filter((record) => record.target !== "");
  return usable.length === 0 ? { outcome: "unavailable" } : { outcome: "records", records: usable };
}

/**
 * The order to try targets in: priority ascending; inside one priority a weighted random choice, again and again.
 *
 * Source: RFC 2782. Records of weight 0 come first in the running sum, which leaves them a very small chance.
 *
 * @param random Gives a number from 0 (inclusive) to 1 (exclusive).
 */
export function orderSrv(records: readonly SrvRecord[], random: () => number): SrvRecord[] {
  const byPriority = Map.groupBy(records, (record) => record.priority);
  return [...byPriority.entries()]
    .sort(([left], [right]) => left - right)
    .flatMap(([, group]) => drawByWeight(group, random));
}

function drawByWeight(group: readonly SrvRecord[], random: () => number): SrvRecord[] {
  const left = [...group].sort((a, b) => Math.sign(a.weight) - Math.sign(b.weight));
  const drawn: SrvRecord[] = [];
  while (left.length > 0) {
    const total = left.reduce((sum, record) => sum + record.weight, 0);
    const draw = Math.floor(random() * (total + 1));
    let running = 0;
    const index = left.findIndex((record) => (running += record.weight) >= draw);
    drawn.push(...left.splice(Math.max(index, 0), 1));
  }
  return drawn;
}

/**
 * The system's resolver, as Deno reports it: a missing name, an empty answer and a server failure are all "not found".
 *
 * @throws When no answer came before the resolver's own time-out or the signal.
 */
export const resolveSrv: SrvResolver = async (name, signal) => {
  try {
    return await Deno.resolveDns(name, "SRV", { signal });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
};
