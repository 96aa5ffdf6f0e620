/** Texts on a model: what the page asks of one, in turn, and cut into pieces so that a stop is heard. */

import { KillickError } from '../error.js';

/** Prompt tokens that are read between two looks at the signal; a whole number of the engine's chunks. */
const READ_TOKENS = 256;

/** Names as the page writes them, as the engine reads them. @param {Record<string, any>} options */
export const snake = (options) =>
  Object.fromEntries(
    Object.entries(options ?? {})
      .filter(([, value]) => value !== undefined && value !== null)
      .map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value]),
  );

/** A policy as the engine reads it. @param {any} policy */
export const policyJson = (policy) => (typeof policy === 'string' ? { preset: policy } : snake(policy));

/** One text. Its methods are called one after the other: the engine's object is busy until its promise is settled. */
export class TextOnModel {
  /** @param {any} text the engine's @param {(event: any) => void} tell the page */
  constructor(text, tell) {
    this.text = text;
    this.tell = tell;
    /** @type {Promise<any>} */
    this.last = Promise.resolve();
    /** @type {(() => void)[]} looks that were asked for and wait for the text to be at rest */
    this.looks = [];
  }

  /** Looks at the text as soon as it is at rest: between two tokens, or else in its turn. @template T @param {() => T} work @returns {Promise<T>} */
  look(work) {
    const seen = new Promise((resolve, reject) => {
      this.looks.push(() => {
        try {
          resolve(work());
        } catch (error) {
          reject(error);
        }
      });
    });
    this.inTurn(async () => this.atRest());
    return seen;
  }

  /** The engine's object is not busy now. */
  atRest() {
    for (const look of this.looks.splice(0)) look();
  }

  /** Runs `work` after what was asked before. @template T @param {() => Promise<T>} work @returns {Promise<T>} */
  inTurn(work) {
    const mine = this.last.then(work);
    this.last = mine.catch(() => {});
    return mine;
  }

  /** What changed, for the page's own list. */
  state() {
    return { length: this.text.length(), asked: this.text.asked() };
  }

  /**
   * Reads ids, and tells the page each piece of them. True if it was called off on the way.
   * @param {Uint32Array} ids @param {AbortSignal} signal
   */
  async read(ids, signal) {
    const words = JSON.parse(this.text.words(ids));
    for (let at = 0; at < ids.length; at += READ_TOKENS) {
      if (signal.aborted) return true;
      const piece = ids.slice(at, at + READ_TOKENS);
      await this.text.append(piece);
      const tokens = [...piece].map((id, i) => ({ id, text: words[at + i] }));
      this.tell({ tokens, read: Math.min(at + READ_TOKENS, ids.length), of: ids.length });
      this.atRest();
    }
    return false;
  }

  /** @param {string} prompt @param {AbortSignal} signal */
  async append(prompt, signal) {
    await this.text.mark();
    const stopped = await this.read(this.text.encode(prompt), signal);
    if (stopped) throw new KillickError('aborted', 'called off while the text was read');
  }

  /** Begins a turn; true if it was called off. @param {string} message @param {AbortSignal} signal */
  async ask(message, signal) {
    const before = this.text.length();
    const ids = await this.text.beginTurn(message);
    // The token that ended the last answer gives way to the template's own end.
    if (this.text.length() < before) this.tell({ length: this.text.length() });
    // After a turn was taken back of a conversation that is rendered anew, what is still known of it comes back unread.
    if (this.text.length() > before) {
      const known = this.text.broughtBack();
      const words = JSON.parse(this.text.words(known));
      this.tell({ tokens: [...known].map((id, i) => ({ id, text: words[i] })), read: 0, of: ids.length });
    }
    return { stopped: await this.read(ids, signal), tokens: ids.length };
  }

  /** @param {string} message @param {string} answer @param {AbortSignal} signal */
  async hear(message, answer, signal) {
    const { stopped } = await this.ask(message, signal);
    // Only now: where a sentence ends may depend on what was read.
    if (stopped || (await this.read(this.text.answerIds(answer), signal))) throw new KillickError('aborted', 'called off while the text was read');
  }

  /**
   * Goes on with the text, after a question if there is one.
   * @param {string | null} message @param {any} options @param {AbortSignal} signal
   */
  async generate(message, options, signal) {
    const { signal: _, ...rest } = options ?? {};
    const { repeatPenalty, seed = Math.floor(Math.random() * 2 ** 48), ...wanted } = rest;
    const begun = performance.now();
    let promptTokens = 0;
    if (message !== null) {
      const { stopped, tokens } = await this.ask(message, signal);
      promptTokens = tokens;
      if (stopped) return { reason: 'cancelled', seed, promptTokens, tokens: 0, firstTokenMs: 0, decodeMs: 0 };
    }
    this.text.start(JSON.stringify(snake({ ...wanted, repetitionPenalty: repeatPenalty, seed })));
    let [tokens, first, cancelled] = [0, 0, false];
    for (;;) {
      if (signal.aborted && !cancelled) {
        cancelled = true;
        this.text.cancel();
      }
      const written = await this.text.next();
      if (written === undefined) break;
      const { id, text } = JSON.parse(written);
      if (id !== null) tokens++;
      if (tokens === 1 && !first) first = performance.now();
      this.tell({ id, text });
      this.atRest();
    }
    const now = performance.now();
    const reason = JSON.parse(this.text.stopReason() ?? 'null');
    return { reason, seed, promptTokens, tokens, firstTokenMs: first ? first - begun : 0, decodeMs: first ? now - first : 0 };
  }
}
