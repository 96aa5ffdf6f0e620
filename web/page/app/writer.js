/** Writing: the prompt or message box and its buttons, on one text or on two side by side. */

import { hide as hideCard } from './anchors.js';
import { Column } from './column.js';
import { byId } from './dom.js';
import { counted, duration, short } from './format.js';
import { intro } from './intro.js';
import { POLICIES, REASONS } from './words.js';

/**
 * @typedef {import('../killick/index.js').Killick} Killick
 * @typedef {import('../killick/index.js').PolicyName} PolicyName
 * @typedef {import('../killick/index.js').GenerateOptions} GenerateOptions
 * @typedef {import('../killick/index.js').GenerationResult} GenerationResult
 * @typedef {import('./settings.js').Settings} Settings
 *
 * What the reader did, so that a second text can do it after the first: words to read (or a message to answer), then writing.
 * @typedef {{ words: string | null, writes: (GenerateOptions & { maxTokens: number })[] }} Step
 */

export class Writer {
  /** @type {Killick | null} */
  #engine = null;
  /** @type {Column[]} */
  columns;
  /** @type {Step[]} */
  #steps = [];
  /** @type {'idle' | 'writing' | 'working'} */
  #state = 'idle';
  /** The model has said all it wants to say: only a message goes on from here. */
  #ended = false;
  #suspended = false;
  /** @type {Promise<unknown>} */
  #running = Promise.resolve();
  /** What a lost device has interrupted: the step, and how long each text was before it. */
  #interrupted = /** @type {{ step: Step, before: number[] } | null} */ (null);

  /**
   * @param {object} parts
   * @param {Settings} parts.settings
   * @param {() => void} parts.onChange the memory of a text has changed
   * @param {(error: unknown) => void} parts.onTrouble
   * @param {(words: string) => void} parts.say tells the reader how things stand
   */
  constructor({ settings, onChange, onTrouble, say }) {
    this.settings = settings;
    this.onChange = onChange;
    this.onTrouble = onTrouble;
    this.say = say;
    this.columns = [new Column('The text', onChange)];
    this.second = new Column('The same under another policy', onChange);
    this.second.element.classList.add('column-two');
    byId('columns').append(this.columns[0].element);
    this.box = byId('prompt');
    this.go = byId('go');
    this.stopButton = byId('stop');
    this.undoButton = byId('undo');
    this.resetButton = byId('reset');
    this.compare = byId('compare');
    this.comparePolicy = byId('compare-policy');
    for (const [key, { name }] of Object.entries(POLICIES)) this.comparePolicy.append(new Option(name, key, key === 'full', key === 'full'));
    this.#listen();
    this.refresh();
  }

  get chat() {
    return this.#engine?.model.chat ?? false;
  }

  get writing() {
    return this.#state === 'writing';
  }

  /**
   * Takes another model, or none; begins an empty text on it.
   * @param {Killick | null} engine
   */
  async use(engine) {
    await Promise.all([this.columns[0], this.second].map((column) => column.close()));
    this.#engine = engine;
    this.#steps = [];
    this.#ended = false;
    this.#interrupted = null;
    byId('columns').toggleAttribute('data-chat', this.chat);
    if (engine) await this.#begin();
    this.refresh();
  }

  /** Begins new texts under the settings as they are now. */
  startOver() {
    return this.#work(async () => {
      this.#steps = [];
      this.#ended = false;
      this.#interrupted = null;
      await this.#begin();
      this.settings.settled();
      this.say('A new text.');
      this.box.focus();
    });
  }

  stop() {
    for (const column of this.columns) column.stop();
  }

  /** A restart begins: what is under way ends with an error that nobody needs to hear of. */
  suspend() {
    this.#suspended = true;
  }

  /** After a restart: goes on with what the lost device has interrupted. */
  async resume() {
    await this.#running;
    this.#suspended = false;
    const interrupted = this.#interrupted;
    this.#interrupted = null;
    // Where the device was lost while a text was begun, there is none.
    if (this.columns.some((column) => column.text === null)) return this.startOver();
    await Promise.all(this.columns.map((column) => column.look()));
    this.refresh();
    if (interrupted) await this.#run(interrupted.step, interrupted.before);
    else this.say('Restarted. The text is as it was.');
  }

  /** Fits the buttons to how things stand. */
  refresh() {
    const [first] = this.columns;
    const words = this.box.value.trim();
    const idle = this.#state === 'idle' && this.#engine !== null && first.text !== null;
    const hadFocus = document.activeElement;
    this.go.textContent = this.chat ? (words || first.empty || this.#ended ? 'Send' : 'Go on') : first.empty ? 'Write' : words ? 'Add and write' : 'Go on';
    byId('prompt-label').textContent = this.chat ? 'Your message' : first.empty && !this.writing ? 'Begin a text, and the model goes on with it' : 'Let it go on, or add words of yours';
    this.go.disabled = !idle || (!words && (first.empty || this.#ended));
    this.go.hidden = this.writing;
    this.stopButton.hidden = !this.writing;
    this.undoButton.disabled = !idle || first.empty;
    this.resetButton.disabled = !idle || first.empty;
    this.compare.disabled = !idle;
    this.comparePolicy.disabled = !idle;
    byId('desk').classList.toggle('is-writing', this.writing);
    // A button that goes away leaves its focus to the one in its place.
    if (hadFocus === this.go && this.go.hidden) this.stopButton.focus();
    if (hadFocus === this.stopButton && this.stopButton.hidden) (this.go.disabled ? this.box : this.go).focus();
    this.#showIntro();
  }

  #listen() {
    byId('composer').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#submit();
    });
    this.box.addEventListener('input', () => this.refresh());
    this.box.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== 'Enter' || event.isComposing) return;
      if (event.shiftKey) return;
      event.preventDefault();
      this.#submit();
    });
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || document.querySelector('dialog[open]')) return;
      if (!hideCard()) this.stop();
    });
    this.stopButton.addEventListener('click', () => this.stop());
    this.undoButton.addEventListener('click', () => this.#undo());
    this.resetButton.addEventListener('click', () => this.startOver());
    this.compare.addEventListener('change', () => this.#compare());
    this.comparePolicy.addEventListener('change', () => this.compare.checked && this.#compare());
  }

  #submit() {
    if (this.go.disabled || this.go.hidden) return;
    const words = this.box.value;
    this.box.value = '';
    const options = this.settings.generate();
    const last = this.#steps.at(-1);
    if (words.trim()) {
      /** @type {Step} */
      const step = { words: this.chat ? words.trim() : joined(this.columns[0], words), writes: [options] };
      this.#steps.push(step);
      return this.#run(step);
    }
    last?.writes.push(options);
    return this.#run({ words: null, writes: [options] });
  }

  /**
   * Does a step on all texts at once.
   * @param {Step} step
   * @param {number[]} [before] lengths before the step, where it was begun already
   */
  async #run(step, before = this.columns.map((column) => column.text?.tokens.length ?? 0)) {
    this.#state = 'writing';
    this.refresh();
    this.say(this.chat ? 'The model is reading and answering.' : 'The model is writing.');
    const work = Promise.allSettled(this.columns.map((column, at) => this.#perform(column, step, before[at])));
    this.#running = work;
    const done = await work;
    this.#state = 'idle';
    const failed = done.find((one) => one.status === 'rejected');
    if (failed) {
      this.#interrupted = { step, before };
      this.say('Interrupted.');
      if (!this.#suspended) this.onTrouble(/** @type {PromiseRejectedResult} */ (failed).reason);
    } else {
      const results = done.map((one) => /** @type {PromiseFulfilledResult<GenerationResult>} */ (one).value);
      // What a second text does after this one is as long as what came of it.
      const last = step.writes.at(-1);
      if (last && results[0].reason === 'cancelled') last.maxTokens = results[0].tokens;
      this.#ended = this.chat && results[0].reason === 'eos';
      this.say(summary(results[0]));
    }
    this.refresh();
    this.onChange();
  }

  /**
   * A step on one text; of one that was interrupted, the rest.
   * @param {Column} column
   * @param {Step} step
   * @param {number} before
   */
  async #perform(column, step, before) {
    const options = this.#options(/** @type {GenerateOptions & { maxTokens: number }} */ (step.writes.at(-1)));
    const begun = (column.text?.tokens.length ?? 0) > before;
    let result;
    if (step.words === null || begun) {
      result = await column.write({ ...options, maxTokens: begun ? Math.max(16, options.maxTokens - column.written(before)) : options.maxTokens });
    } else if (this.chat) {
      result = await column.ask(step.words, options);
    } else {
      await column.read(step.words);
      result = await column.write(options);
    }
    const said = result.reason === 'cancelled' || result.reason === 'max_tokens' ? '' : REASONS[result.reason];
    column.say(said);
    return result;
  }

  /**
   * A model that continues texts has no end of its own.
   * @param {GenerateOptions & { maxTokens: number }} options
   */
  #options(options) {
    return this.chat ? options : { ...options, ignoreEos: true };
  }

  #undo() {
    return this.#work(async () => {
      const [first] = this.columns;
      const [done] = await Promise.all(this.columns.map((column) => column.undo()));
      if (!done) return this.say('Only the last step can be taken back.');
      this.#ended = this.chat;
      const step = this.#steps.pop();
      // The words come back, to be said better.
      if (step?.words && !this.box.value) this.box.value = step.words.trim();
      this.say(first.empty ? 'Taken back. The text is empty.' : 'Taken back.');
    });
  }

  /**
   * As if the reader had chosen it.
   * @param {string} policy
   */
  compareWith(policy) {
    if (!(policy in POLICIES)) return undefined;
    this.comparePolicy.value = policy;
    this.compare.checked = true;
    return this.#compare();
  }

  /** Puts a second text beside the first, or takes it away. */
  #compare() {
    const on = this.compare.checked;
    byId('columns').classList.toggle('is-double', on);
    this.columns = on ? [this.columns[0], this.second] : [this.columns[0]];
    if (!on) {
      this.second.element.remove();
      this.refresh();
      this.onChange();
      return this.#work(() => this.second.close());
    }
    byId('columns').append(this.second.element);
    return this.#work(async () => {
      await this.#openSecond();
      await this.#catchUp();
    });
  }

  #openSecond() {
    const policy = this.settings.policy(/** @type {PolicyName} */ (this.comparePolicy.value));
    return this.second.open(/** @type {Killick} */ (this.#engine), { policy, system: this.chat ? this.settings.system : undefined });
  }

  /** The second text does what the first has done, with the same words and the same seeds. */
  async #catchUp() {
    if (this.#steps.length === 0) return;
    this.#state = 'writing';
    this.refresh();
    this.say('The same prompt under the other policy.');
    for (const { words, writes } of this.#steps) {
      if (words !== null && !this.chat) await this.second.read(words);
      for (const [at, write] of writes.entries()) {
        const options = this.#options(write);
        const result = words !== null && this.chat && at === 0 ? await this.second.ask(words, options) : await this.second.write(options);
        if (result.reason === 'cancelled') return;
        this.second.say(result.reason === 'max_tokens' ? '' : REASONS[result.reason]);
      }
    }
    this.say('Both texts stand side by side.');
  }

  async #begin() {
    await this.columns[0].open(/** @type {Killick} */ (this.#engine), { policy: this.settings.policy(), system: this.chat ? this.settings.system : undefined });
    if (this.compare.checked) await this.#openSecond();
  }

  /**
   * Something that must not be disturbed by another.
   * @param {() => Promise<void>} work
   */
  async #work(work) {
    if (!this.#engine) return;
    this.#state = 'working';
    this.refresh();
    try {
      await work();
    } catch (error) {
      this.onTrouble(error);
    }
    this.#state = 'idle';
    this.refresh();
    this.onChange();
  }

  #showIntro() {
    const { pane, empty } = this.columns[0];
    const shown = pane.querySelector('.intro');
    const wanted = this.#engine !== null && empty && !this.writing;
    if (!wanted || shown?.dataset.chat !== String(this.chat)) shown?.remove();
    if (!wanted || pane.querySelector('.intro')) return;
    const element = intro(this.chat, (words) => {
      this.box.value = words;
      this.refresh();
      this.#submit();
    });
    element.dataset.chat = String(this.chat);
    pane.prepend(element);
  }
}

/**
 * Words added to a text begin as a new word.
 * @param {Column} column
 * @param {string} words
 */
function joined(column, words) {
  return column.empty || /^\s/.test(words) || /\s$/.test(column.view.texts.at(-1) ?? '') ? words : ` ${words}`;
}

/** @param {GenerationResult} result */
function summary({ reason, tokens, decodeMs }) {
  const speed = decodeMs > 0 && tokens > 1 ? `, ${short(((tokens - 1) * 1000) / decodeMs)} a second` : '';
  return `${counted(tokens, 'token')} in ${duration(decodeMs)}${speed}. ${REASONS[reason] ?? ''}`;
}
