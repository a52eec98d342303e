// A queue, first in, first out: taking from the front of a long array would cost its length each time.

/** A queue of any length. */
export class Fifo<Item> {
  #items: Item[] = [];
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  peek(): Item | undefined {
    return this.#items[this.#first];
  }

  shift(): Item | undefined {
    const item = this.#items[this.#first];
    if (item === undefined) return undefined;
    this.#first++;
    if (this.#first > this.#items.length / 2) this.#tidy();
    return item;
  }

  /** Keeps what passes, and gives back what does not. */
  retain(passes: (item: Item) => boolean): Item[] {
    this.#tidy();
    const removed = this.#items.filter((item) => !passes(item));
    if (removed.length > 0) this.#items = this.#items.filter(passes);
    return removed;
  }

  clear(): void {
    this.#items = [];
    this.#first = 0;
  }

  #tidy(): void {
    this.#items = this.#items.slice(this.#first);
    this.#first = 0;
  }
}
