/** What is measured while a text grows: entries held against tokens read, and tokens a second. */

/** @typedef {import('../killick/index.js').Memory} Memory */

/** When there are more points than this, every second one goes: a chart is a few hundred pixels wide. */
const MOST = 500;
/** A speed is an average over this time; tokens come in batches. */
const RATE_MS = 700;
/** And over this many, for slow models. */
const RATE_TOKENS = 4;

export class History {
  /** @type {{ tokens: number, entries: number, bytes: number, fullBytes: number }[]} */
  memory = [];
  /** @type {[number, number][]} tokens read, tokens a second */
  rate = [];
  #since = 0;
  #tokens = 0;

  /** @param {Memory} memory */
  add(memory) {
    const last = this.memory.at(-1);
    const point = { tokens: memory.length, entries: memory.kv.live, bytes: memory.kv.bytes_live, fullBytes: memory.fullBytes };
    if (last?.tokens === point.tokens) this.memory.pop();
    this.memory.push(point);
    if (this.memory.length > MOST) this.memory = this.memory.filter((_, at, all) => at % 2 === 0 || at === all.length - 1);
  }

  /** Writing begins: time starts with the first token, for what comes before is reading. */
  startClock() {
    this.#since = 0;
    this.#tokens = 0;
  }

  /**
   * A token came.
   * @param {number} length tokens of the text now
   */
  tick(length) {
    const now = performance.now();
    if (!this.#since) {
      this.#since = now;
      return;
    }
    this.#tokens += 1;
    const passed = now - this.#since;
    if (passed < RATE_MS || this.#tokens < RATE_TOKENS) return;
    this.rate.push([length, (this.#tokens * 1000) / passed]);
    this.#since = now;
    this.#tokens = 0;
    if (this.rate.length > MOST) this.rate = this.rate.filter((_, at) => at % 2 === 1);
  }

  /**
   * Nothing is known of the text behind this length any more.
   * @param {number} length
   */
  rewind(length) {
    this.memory = this.memory.filter((point) => point.tokens <= length);
    this.rate = this.rate.filter(([tokens]) => tokens <= length);
  }
}
