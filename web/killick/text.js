import { KillickError } from './error.js';

/** A queue that is filled from one side and iterated from the other. */
class Pieces {
  /** @type {any[]} */
  ready = [];
  /** @type {((result: any) => void) | null} */
  wake = null;
  over = false;
  /** @type {any} */
  error = null;

  /** @param {any} piece */
  push(piece) {
    this.ready.push(piece);
    this.wake?.(undefined);
  }

  /** @param {any} [error] */
  end(error) {
    [this.over, this.error] = [true, error ?? null];
    this.wake?.(undefined);
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.ready.length > 0) yield this.ready.shift();
      if (this.over) {
        if (this.error) throw this.error;
        return;
      }
      await new Promise((resolve) => (this.wake = resolve));
      this.wake = null;
    }
  }
}

/** Pieces as they come, and how it ended. */
export class Generation {
  /**
   * @param {(signal: AbortSignal, tell: (piece: any) => void) => Promise<any>} run
   * @param {AbortSignal} [signal]
   */
  constructor(run, signal) {
    this.controller = new AbortController();
    if (signal?.aborted) this.controller.abort();
    signal?.addEventListener('abort', () => this.controller.abort(), { once: true });
    this.pieces = new Pieces();
    this.result = run(this.controller.signal, (piece) => this.pieces.push(piece));
    this.result.then(
      () => this.pieces.end(),
      (error) => this.pieces.end(error),
    );
  }

  stop() {
    this.controller.abort();
  }

  /** Leaving the loop early stops it. */
  async *[Symbol.asyncIterator]() {
    try {
      yield* this.pieces;
    } finally {
      this.stop();
    }
  }
}

/** One text; its tokens are kept here, so that it outlives the worker. */
export class Text {
  /** @type {import('./index.js').Token[]} */
  tokens = [];
  asked = 0;
  closed = false;

  /**
   * @param {import('./port.js').Port} port @param {any} options @param {{ text: number, policy: any }} made
   */
  constructor(port, options, { text, policy }) {
    this.port = port;
    this.options = options;
    this.number = text;
    this.policy = policy;
  }

  /**
   * @param {string} call @param {any} args
   * @param {{ signal?: AbortSignal, tell?: (event: any) => void }} [options]
   */
  async request(call, args = {}, { signal, tell } = {}) {
    if (this.closed) throw new KillickError('closed', 'this text was closed');
    const take = (/** @type {any} */ event) => {
      this.take(event);
      tell?.(event);
    };
    const { value, length, asked } = await this.port.request(call, { text: this.number, ...args }, { signal, tell: take });
    this.asked = asked;
    if (length < this.tokens.length) this.tokens.length = length;
    return value;
  }

  /** Keeps what an event brings. @param {any} event */
  take({ tokens, id, text, length }) {
    if (length !== undefined) this.tokens.length = length;
    for (const token of tokens ?? []) this.tokens.push({ ...token, position: this.tokens.length });
    if (id !== undefined && id !== null) this.tokens.push({ id, text, position: this.tokens.length });
    // Text that was held back belongs to the last token.
    else if (id === null && text && this.tokens.length > 0) this.tokens[this.tokens.length - 1].text += text;
  }

  /** @param {string} prompt @param {{ signal?: AbortSignal, onPrompt?: (read: number, of: number) => void }} [options] */
  async append(prompt, { signal, onPrompt } = {}) {
    if (typeof prompt !== 'string') throw new KillickError('bad-option', 'append: expected a text');
    const before = this.tokens.length;
    await this.request('append', { prompt }, { signal, tell: ({ read, of }) => read && onPrompt?.(read, of) });
    return this.tokens.slice(before);
  }

  /** @param {any} [options] */
  generate(options = {}) {
    return this.going(null, options);
  }

  /** @param {string} message @param {any} [options] */
  say(message, options = {}) {
    return this.going(message, options);
  }

  /** @param {string | null} message @param {any} options */
  going(message, { signal, onPrompt, ...options }) {
    return new Generation((stopped, tell) => {
      const take = (/** @type {any} */ { id, text, tokens, read, of }) => {
        if (tokens) return onPrompt?.(read, of);
        if (text === undefined) return;
        const last = this.tokens.length - 1;
        tell(id === null ? { text } : { token: { id, position: last }, text });
      };
      return this.request('generate', { message, options }, { signal: stopped, tell: take });
    }, signal);
  }

  /** @param {string} message @param {string} answer */
  async tell(message, answer) {
    await this.request('tell', { message, answer });
  }

  async undo() {
    return this.request('undo');
  }

  async reset() {
    await this.request('reset');
    this.tokens.length = 0;
  }

  async memory() {
    return this.request('memory');
  }

  async anchors() {
    return this.request('anchors');
  }

  async close() {
    if (this.closed) return;
    const [port, text] = [this.port, this.number];
    this.closed = true;
    await port.request('close', { text }).catch(() => {});
  }

  /** Lives on in a new worker. @param {import('./port.js').Port} port @param {{ text: number, policy: any }} made */
  async moveTo(port, { text, policy }) {
    [this.port, this.number, this.policy] = [port, text, policy];
    const ids = this.tokens.map(({ id }) => id);
    if (ids.length > 0 || this.asked > 0) await this.request('resume', { ids, asked: this.asked });
  }
}
