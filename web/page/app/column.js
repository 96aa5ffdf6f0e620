/** One text with its view: what it says, what it remembers, how fast it grows. Two of them stand side by side in a comparison. */

import { rove, watchAnchors } from './anchors.js';
import { make } from './dom.js';
import { count } from './format.js';
import { History } from './history.js';
import { MemoryView } from './memory.js';
import { POLICIES } from './words.js';

/**
 * @typedef {import('../killick/index.js').Killick} Killick
 * @typedef {import('../killick/index.js').Text} KillickText
 * @typedef {import('../killick/index.js').TextOptions} TextOptions
 * @typedef {import('../killick/index.js').GenerateOptions} GenerateOptions
 * @typedef {import('../killick/index.js').GenerationResult} GenerationResult
 * @typedef {import('../killick/index.js').Generation} Generation
 */

/** How often the cache is looked at while a text is written. */
const LOOK_MS = 160;
/** Tokens of a prompt that are read too fast to say how many are done. */
const SHORT = 256;

export class Column {
  /** @type {KillickText | null} */
  text = null;
  history = new History();
  /** @type {Generation | null} */
  #generation = null;
  /** The reader is at the end and wants to stay there. */
  #atEnd = true;
  #frame = 0;
  /** What comes is not shown yet. */
  #held = false;
  /** @type {Promise<void> | null} */
  #looking = null;

  /**
   * @param {string} name for screen readers
   * @param {() => void} onChange the memory or the speed has changed
   */
  constructor(name, onChange) {
    this.onChange = onChange;
    this.title = make('h3', { className: 'column-title' });
    this.state = make('p', { className: 'column-state' });
    this.note = make('p', { className: 'column-note', hidden: true });
    this.body = make('div', { className: 'text' });
    /** A question that is being read: until it is, its tokens can't be told from those of the chat template. */
    this.pending = make('div', { className: 'pending', hidden: true }, make('p', { className: 'speaker', textContent: 'You' }), make('p', {}));
    this.pane = make('div', { className: 'pane', tabIndex: 0, role: 'region', 'aria-label': name }, this.body, this.pending, this.note);
    this.element = make('section', { className: 'column', 'aria-label': name },
      make('div', { className: 'column-head' }, this.title, this.state), this.pane);
    this.view = new MemoryView(this.body);
    watchAnchors(this.view);
    this.pane.addEventListener('scroll', () => {
      this.#atEnd = this.pane.scrollHeight - this.pane.scrollTop - this.pane.clientHeight < 48;
    }, { passive: true });
  }

  get empty() {
    return !this.text || this.text.tokens.length === 0;
  }

  /** What the policy is called. */
  get policyName() {
    const preset = this.text?.policy.preset;
    return preset ? POLICIES[preset]?.name ?? preset : '';
  }

  /**
   * Begins an empty text.
   * @param {Killick} engine
   * @param {TextOptions} options
   */
  async open(engine, options) {
    await this.close();
    this.text = await engine.text(options);
    this.title.textContent = this.policyName;
    this.#atEnd = true;
    await this.look();
  }

  /** Ends the text; what was on the page of it goes too. */
  async close() {
    const { text } = this;
    this.text = null;
    this.forget();
    // After a lost device there may be nothing left to free.
    await text?.close().catch(() => {});
  }

  /** Empties the page of the text, not the text itself. */
  forget() {
    this.view.clear();
    this.history = new History();
    this.say('');
    this.state.textContent = '';
    this.#atEnd = true;
  }

  /**
   * Reads what the reader wrote.
   * @param {string} words
   */
  async read(words) {
    const text = /** @type {KillickText} */ (this.text);
    this.view.mark(text.tokens.length, 'prompt');
    await this.#during(text.append(words, { onPrompt: this.#reading }));
    this.view.mark(text.tokens.length, 'written');
  }

  /**
   * Lets the model write.
   * @param {GenerateOptions} options
   */
  write(options) {
    return this.#run(/** @type {KillickText} */ (this.text).generate(options));
  }

  /**
   * Puts a question, and lets the model answer.
   * @param {string} message
   * @param {GenerateOptions} options
   */
  ask(message, options) {
    return this.#run(/** @type {KillickText} */ (this.text).say(message, { ...options, onPrompt: this.#reading }), message);
  }

  /**
   * How much of a long prompt was read.
   * @param {number} read
   * @param {number} of
   */
  #reading = (read, of) => {
    if (of > SHORT) this.say(read < of ? `Reading: ${read} of ${of} tokens.` : '');
  };

  /**
   * How many tokens the model has written since the text was this long.
   * @param {number} before
   */
  written(before) {
    return this.view.length - Math.max(before, this.view.lastQuestionEnd);
  }

  stop() {
    this.#generation?.stop();
  }

  /** Takes back the last step. */
  async undo() {
    const { text } = this;
    if (!text || !(await text.undo())) return false;
    this.history.rewind(text.tokens.length);
    this.view.push(text.tokens);
    this.say('');
    await this.look();
    return true;
  }

  /**
   * A line below the text.
   * @param {string} words
   */
  say(words) {
    this.note.textContent = words;
    this.note.hidden = !words;
    this.#follow();
  }

  /** Shows all that has come. */
  #flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (!this.text || this.#held) return;
    this.view.push(this.text.tokens);
    this.#follow();
  }

  /** Looks at the cache and paints it; a second look joins one that is under way. */
  look() {
    this.#looking ??= this.#look().finally(() => { this.#looking = null; });
    return this.#looking;
  }

  async #look() {
    const { text } = this;
    if (!text) return;
    const memory = await text.memory();
    if (this.text !== text) return;
    this.#flush();
    this.view.paint(memory);
    rove(this.view);
    this.history.add(memory);
    this.state.textContent = `${count(memory.kv.live)} of ${count(memory.length)} entries`;
    this.#follow();
    this.onChange();
  }

  /**
   * Shows what comes while `work` goes on.
   * @template T
   * @param {Promise<T>} work
   */
  async #during(work) {
    const timer = setInterval(() => {
      this.#flush();
      // What goes wrong here goes wrong in the work too, and is handled there.
      this.look().catch(() => {});
    }, LOOK_MS);
    try {
      return await work;
    } finally {
      clearInterval(timer);
      this.#held = false;
      this.pending.hidden = true;
      await this.#looking?.catch(() => {});
      this.#flush();
      await this.look().catch(() => {});
    }
  }

  /**
   * @param {Generation} generation
   * @param {string} [question]
   * @returns {Promise<GenerationResult>}
   */
  #run(generation, question) {
    this.#generation = generation;
    // Its failure is that of the iteration too, which is where it is handled.
    generation.result.catch(() => {});
    this.history.startClock();
    this.say('');
    return this.#during(this.#take(generation, question)).finally(() => { this.#generation = null; });
  }

  /**
   * @param {Generation} generation
   * @param {string} [question]
   */
  async #take(generation, question) {
    // Until the first token of the answer it is not known where the question ends.
    this.#held = question !== undefined;
    if (question !== undefined) {
      this.pending.lastChild.textContent = question;
      this.pending.hidden = false;
      this.#follow();
    }
    for await (const piece of generation) {
      if (!piece.token) continue;
      if (this.#held) {
        this.#markQuestion(piece.token.position, /** @type {string} */ (question));
        this.#held = false;
        this.pending.hidden = true;
      }
      this.history.tick(piece.token.position + 1);
      this.#frame ||= requestAnimationFrame(() => this.#flush());
    }
    return generation.result;
  }

  /**
   * Tells the question from what the chat template puts around it.
   * @param {number} to where the answer begins
   * @param {string} question
   */
  #markQuestion(to, question) {
    const tokens = /** @type {KillickText} */ (this.text).tokens;
    const from = this.view.common(tokens);
    const texts = tokens.slice(from, to).map((token) => token.text);
    const begin = texts.join('').indexOf(question.trim());
    this.view.mark(from, 'frame', begin < 0 ? 'You' : '');
    if (begin >= 0) {
      const end = begin + question.trim().length;
      let length = 0;
      let first = -1;
      let last = -1;
      texts.forEach((text, at) => {
        if (first < 0 && length + text.length > begin) first = from + at;
        length += text.length;
        if (last < 0 && length >= end) last = from + at + 1;
      });
      this.view.mark(first, 'prompt', 'You');
      this.view.mark(last, 'frame', '');
    }
    this.view.mark(to, 'written', 'Model');
  }

  #follow() {
    if (this.#atEnd) this.pane.scrollTop = this.pane.scrollHeight;
  }
}
