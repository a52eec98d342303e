// Who is served next where not everybody can be: servers take turns, and users within each, so that whoever asks for much
// waits for their own sake and not for others'. Start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM 1996), in rounds.

import TinyQueue from "tinyqueue";
import type { LeaveCall } from "./leave_call.ts";

type Before = (one: LeaveCall, other: LeaveCall) => number;

/** Somebody who takes turns. */
interface Turn {
  /** Services so far, counted from where the others stood when this one came. */
  served: number;
  /** Counts the places taken in an order: all but the last one are void. */
  place: number;
}

interface User extends Turn {
  calls: TinyQueue<LeaveCall>;
}

interface Server extends Turn {
  readonly users: Map<string, User>;
  readonly order: TurnOrder<User>;
}

// Whoever was served before and has nothing waiting is remembered until there are so many of them.
const MAX_REMEMBERED = 1000;

/** Calls that wait, in the order of their turns. */
export class Turns {
  readonly #before: Before;
  readonly #perRound: number;
  readonly #servers = new Map<string, Server>();
  readonly #order: TurnOrder<Server>;
  #length = 0;
  #users = 0;

  /**
   * @param before Below 0 = the first call goes before the second: within one user, and among those of one round.
   * @param perRound Services by which a server, and a user, may be ahead of the others: more follow deadlines better,
   * fewer are fairer.
   */
  constructor(before: Before, perRound: number) {
    this.#before = before;
    this.#perRound = perRound;
    this.#order = new TurnOrder(before, perRound);
  }

  get length(): number {
    return this.#length;
  }

  push(call: LeaveCall): void {
    const server = this.#serverOf(call);
    const user = this.#userOf(server, call);
    if (user.calls.length === 0) user.served = Math.max(user.served, server.order.floor);
    user.calls.push(call);
    this.#length++;
    if (user.calls.peek() !== call) return;
    const isIdle = server.order.first() === undefined;
    if (isIdle) server.served = Math.max(server.served, this.#order.floor);
    server.order.put(user, call);
    if (server.order.first()?.head === call) this.#order.put(server, call);
  }

  /** The call whose turn it is. */
  peek(): LeaveCall | undefined {
    return this.#order.first()?.head;
  }

  /**
   * Takes the call whose turn it is.
   *
   * @param isServed False = it is taken away without having been served.
   */
  shift(isServed = true): LeaveCall | undefined {
    const server = this.#order.first()?.whose;
    const user = server?.order.first()?.whose;
    const call = user?.calls.pop();
    if (server === undefined || user === undefined || call === undefined) return undefined;
    this.#length--;
    if (isServed) {
      this.#order.serve(server);
      server.order.serve(user);
    }
    server.order.put(user, user.calls.peek());
    this.#order.put(server, server.order.first()?.head);
    return call;
  }

  /** Keeps what passes, and returns what does not. */
  retain(passes: (call: LeaveCall) => boolean): LeaveCall[] {
    const removed: LeaveCall[] = [];
    for (const server of this.#servers.values()) {
      for (const user of server.users.values()) {
        const kept = user.calls.data.filter((call) => passes(call) || !removed.push(call));
        if (kept.length === user.calls.length) continue;
        user.calls = new TinyQueue(kept, this.#before);
        server.order.put(user, user.calls.peek());
      }
      this.#order.put(server, server.order.first()?.head);
    }
    this.#length -= removed.length;
    this.#forget();
    return removed;
  }

  /** All calls, in no order. */
  *[Symbol.iterator](): Iterator<LeaveCall> {
    for (const { users } of this.#servers.values()) for (const { calls } of users.values()) yield* calls.data;
  }

  #serverOf({ job: { homeserver } }: LeaveCall): Server {
    const order = () => new TurnOrder<User>(this.#before, this.#perRound);
    const server = this.#servers.get(homeserver) ?? { served: 0, place: 0, users: new Map(), order: order() };
    this.#servers.set(homeserver, server);
    return server;
  }

  #userOf({ users }: Server, { user: name }: LeaveCall): User {
    const known = users.get(name);
    if (known !== undefined) return known;
    if (this.#users > 2 * this.#length + MAX_REMEMBERED) this.#forget();
    const user = { served: 0, place: 0, calls: new TinyQueue<LeaveCall>([], this.#before) };
    users.set(name, user);
    this.#users++;
    return user;
  }

  #forget(): void {
    this.#users = 0;
    for (const [name, { users, order }] of this.#servers) {
      for (const [userName, user] of users) if (user.calls.length === 0) users.delete(userName);
      this.#users += users.size;
      if (users.size === 0 && order.first() === undefined) this.#servers.delete(name);
    }
  }
}

interface Place<Whose extends Turn> {
  readonly whose: Whose;
  readonly place: number;
  readonly round: number;
  readonly head: LeaveCall;
}

/** Who of several is next: those of the earliest round, and among them whose call goes before the others'. */
class TurnOrder<Whose extends Turn> {
  /** Where those stand who were served last: whoever comes anew begins there. */
  floor = 0;
  readonly #places: TinyQueue<Place<Whose>>;
  readonly #perRound: number;

  constructor(before: Before, perRound: number) {
    this.#perRound = perRound;
    this.#places = new TinyQueue<Place<Whose>>(
      [],
      (one, other) => one.round - other.round || before(one.head, other.head),
    );
  }

  /** Gives somebody their place; the one before is void. Without a call they have none. */
  put(whose: Whose, head: LeaveCall | undefined): void {
    whose.place++;
    if (head === undefined) return;
    this.#places.push({ whose, head, place: whose.place, round: Math.floor(whose.served / this.#perRound) });
  }

  first(): Place<Whose> | undefined {
    let first = this.#places.peek();
    for (; first !== undefined && first.place !== first.whose.place; first = this.#places.peek()) this.#places.pop();
    return first;
  }

  serve(whose: Whose): void {
    this.floor = Math.max(this.floor, whose.served++);
  }
}
