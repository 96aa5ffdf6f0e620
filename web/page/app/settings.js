/** The settings, each with what it does. */

import { byId, fill, make } from './dom.js';
import { POLICIES } from './words.js';

/**
 * @typedef {import('../killick/index.js').ModelInfo} ModelInfo
 * @typedef {import('../killick/index.js').PolicyName} PolicyName
 * @typedef {import('../killick/index.js').KvFormat} KvFormat
 * @typedef {import('../killick/index.js').Support} Support
 * @typedef {import('../killick/index.js').PolicyOptions} PolicyOptions
 * @typedef {import('../killick/index.js').GenerateOptions} GenerateOptions
 *
 * @typedef {object} Setting
 * @property {string} key its name in the address of the page, too
 * @property {string} label
 * @property {string} help
 * @property {'now' | 'text' | 'model'} needs when it takes effect: with the next words, with a new text, when the model is loaded again
 * @property {string} [unit]
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [step]
 * @property {string} value at first; empty means that the model decides
 * @property {[string, string][]} [choices] value and name; then it is a list
 * @property {'chat' | 'f16'} [only] shown for models that chat, or on devices with 16-bit arithmetic
 */

/** @type {Setting[]} */
const SETTINGS = [
  { key: 'policy', label: 'What is remembered', help: '', needs: 'text', value: '', choices: [['', 'As the model was trained'], ...Object.entries(POLICIES).map(([key, { name }]) => /** @type {[string, string]} */ ([key, name]))] },
  { key: 'window', label: 'Window', unit: 'tokens', help: 'The newest tokens that a token sees whatever else is forgotten. Empty: as the model was trained.', needs: 'text', value: '', min: 1, max: 65536, step: 1 },
  { key: 'anchors', label: 'Anchors at most', unit: 'entries', help: 'Beyond these the oldest go, and their sentences are forgotten. Fewer need less memory.', needs: 'text', value: '', min: 1, max: 65536, step: 1 },
  { key: 'system', label: 'Instruction', help: 'Said to the model before the conversation, for example how to answer.', needs: 'text', value: '', only: 'chat' },
  { key: 'max_tokens', label: 'Length', unit: 'tokens', help: 'How much it writes before it pauses. A token is a short word or a part of one.', needs: 'now', value: '400', min: 1, max: 100000, step: 1 },
  { key: 'temperature', label: 'Temperature', help: '0 always takes the likeliest token; higher is freer, and above 1 it soon rambles.', needs: 'now', value: '0.8', min: 0, max: 3, step: 0.05 },
  { key: 'top_p', label: 'Top-p', unit: 'of 1', help: 'Draws only from the likeliest tokens that together have this chance.', needs: 'now', value: '0.95', min: 0.01, max: 1, step: 0.01 },
  { key: 'min_p', label: 'Min-p', unit: 'of 1', help: 'Leaves out tokens with less than this part of the likeliest one’s chance. 0 leaves out none.', needs: 'now', value: '0', min: 0, max: 1, step: 0.01 },
  { key: 'seed', label: 'Seed', help: 'The same seed draws the same text again. Empty: another each time.', needs: 'now', value: '', min: 0, max: 4294967295, step: 1 },
  { key: 'kv', label: 'Numbers in the cache', help: 'Shorter numbers take half the memory of the cache, or little more than a quarter, and round what it holds a little.', needs: 'model', value: 'f32', choices: [['f32', '32 bits each'], ['f16', '16 bits each'], ['q8_0', '8 bits each']] },
  { key: 'f16', label: 'Numbers in products', help: 'This device has 16-bit arithmetic. A long prompt may be read faster with it, or not: try. Sums stay in 32 bits.', needs: 'model', value: '', choices: [['', '32 bits'], ['on', '16 bits, for prompts']], only: 'f16' },
];

const NEEDS = { now: '', text: 'for a new text', model: 'loads the model again' };

export class Settings {
  /** @type {Map<string, HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>} */
  #fields = new Map();
  /** Whether the device has 16-bit arithmetic that the engine can use. */
  offers16 = false;

  /**
   * @param {URLSearchParams} query what the page's address sets
   * @param {{ onText: () => void, onModel: () => void }} actions begin a new text, load the model again
   */
  constructor(query, { onText, onModel }) {
    const form = byId('settings-form');
    for (const setting of SETTINGS) {
      const field = this.#field(setting);
      const wanted = query.get(setting.key);
      if (wanted !== null) field.value = wanted;
      this.#fields.set(setting.key, field);
      form.append(this.#row(setting, field));
    }
    this.policyHelp = byId('help-policy');
    this.offer = make('div', { className: 'offer', hidden: true, role: 'status' });
    form.append(this.offer);
    form.addEventListener('submit', (/** @type {Event} */ event) => event.preventDefault());
    form.addEventListener('change', (/** @type {Event} */ event) => {
      const setting = SETTINGS.find((one) => this.#fields.get(one.key) === event.target);
      this.refresh();
      if (setting?.needs === 'text') this.#offer('It takes effect with a new text.', 'Start over now', onText);
      if (setting?.needs === 'model') this.#offer('It takes effect when the model is loaded again.', 'Load it again', onModel);
    });
    this.refresh();
  }

  /**
   * Fits the settings to what the browser offers. The kernels for processors compute in 32 bits alone.
   * @param {Support} support
   */
  offer16({ f16, software }) {
    this.offers16 = f16 && !software;
    this.#show('f16', this.offers16);
  }

  /**
   * Fits the settings to a model.
   * @param {ModelInfo} model
   */
  fit(model) {
    this.#show('chat', model.chat);
    const own = /** @type {HTMLSelectElement} */ (this.#fields.get('policy')).options[0];
    own.textContent = `As the model was trained (${POLICIES[model.policy.preset]?.name ?? model.policy.preset})`;
    this.own = model.policy.preset;
    this.offer.hidden = true;
    this.refresh();
  }

  /** Says in a line how things are set. */
  refresh() {
    const policy = /** @type {PolicyName} */ (this.#value('policy') || this.own || 'anchor');
    this.policyHelp.textContent = POLICIES[policy]?.says ?? '';
    byId('settings-digest').textContent = `${POLICIES[policy]?.name ?? policy}, temperature ${this.#value('temperature')}, ${this.#value('max_tokens')} tokens`;
    this.#disable('window', policy === 'full');
    this.#disable('anchors', policy !== 'anchor' && policy !== 'sepllm');
  }

  /**
   * The policy as chosen; `other` takes its place in the second text of a comparison.
   * @param {PolicyName} [other]
   * @returns {PolicyOptions}
   */
  policy(other) {
    const preset = /** @type {PolicyName} */ (other ?? this.#value('policy'));
    /** @type {PolicyOptions} */
    const options = preset ? { preset } : {};
    if (other) return options;
    const window = this.#number('window');
    const maxAnchors = this.#number('anchors');
    if (window !== undefined && !this.#isOff('window')) options.window = window;
    if (maxAnchors !== undefined && !this.#isOff('anchors')) options.maxAnchors = maxAnchors;
    return options;
  }

  /** @returns {string | undefined} */
  get system() {
    return this.#value('system').trim() || undefined;
  }

  /** @returns {KvFormat} */
  get kv() {
    const chosen = this.#value('kv');
    return chosen === 'f16' || chosen === 'q8_0' ? chosen : 'f32';
  }

  /** Whether prompts are to be computed in 16 bits. The address of the page may ask for it anywhere, so only where it can be had. */
  get f16() {
    return this.offers16 && this.#value('f16') === 'on';
  }

  /**
   * How to write. The seed is drawn here, so that two texts side by side have the same.
   * @returns {GenerateOptions & { maxTokens: number }}
   */
  generate() {
    return {
      maxTokens: this.#number('max_tokens') ?? 400,
      temperature: this.#number('temperature') ?? 0.8,
      topP: this.#number('top_p'),
      minP: this.#number('min_p'),
      seed: this.#number('seed') ?? Math.floor(Math.random() * 2 ** 32),
    };
  }

  /** What was to be done for a setting is done. */
  settled() {
    this.offer.hidden = true;
  }

  /** @param {string} key */
  #value(key) {
    return this.#fields.get(key)?.value ?? '';
  }

  /**
   * A number within its bounds, or nothing.
   * @param {string} key
   */
  #number(key) {
    const setting = SETTINGS.find((one) => one.key === key);
    const value = Number.parseFloat(this.#value(key));
    if (!Number.isFinite(value)) return undefined;
    return Math.min(Math.max(value, setting?.min ?? -Infinity), setting?.max ?? Infinity);
  }

  /** @param {string} key */
  #isOff(key) {
    return this.#fields.get(key)?.disabled ?? true;
  }

  /**
   * @param {string} key
   * @param {boolean} off
   */
  #disable(key, off) {
    const field = this.#fields.get(key);
    if (field) field.disabled = off;
  }

  /**
   * Shows the settings that are only for something, or does not.
   * @param {NonNullable<Setting['only']>} only
   * @param {boolean} shown
   */
  #show(only, shown) {
    for (const row of document.querySelectorAll(`[data-only="${only}"]`)) /** @type {HTMLElement} */ (row).hidden = !shown;
  }

  /** @param {Setting} setting */
  #field({ key, value, choices, min, max, step }) {
    const common = { id: `set-${key}`, name: key, 'aria-describedby': `help-${key}` };
    if (choices) return make('select', common, ...choices.map(([choice, name]) => make('option', { value: choice, textContent: name })));
    if (key === 'system') return make('textarea', { ...common, rows: 2, value });
    return make('input', { ...common, type: 'number', inputMode: 'decimal', value, min, max, step, placeholder: value === '' ? (key === 'seed' ? 'random' : 'as trained') : undefined });
  }

  /**
   * @param {Setting} setting
   * @param {HTMLElement} field
   */
  #row({ key, label, unit, help, needs, only }, field) {
    const row = make('div', { className: 'setting' },
      make('div', { className: 'setting-head' },
        make('label', { htmlFor: field.id, textContent: label }),
        NEEDS[needs] && make('span', { className: 'needs', textContent: NEEDS[needs] })),
      make('div', { className: 'setting-field' }, field, field instanceof HTMLInputElement && make('span', { className: 'unit', textContent: unit ?? '' })),
      make('p', { className: 'setting-help', id: `help-${key}`, textContent: help }));
    if (only) row.dataset.only = only;
    // Until the browser has said that it can be had.
    row.hidden = only === 'f16';
    return row;
  }

  /**
   * @param {string} words
   * @param {string} label
   * @param {() => void} action
   */
  #offer(words, label, action) {
    fill(this.offer, make('span', { textContent: words }), make('button', { type: 'button', textContent: label, onclick: action }));
    this.offer.hidden = false;
  }
}
