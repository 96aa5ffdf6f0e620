/** Choosing a model: what there is, what it would take, and then loading it. */

import { Killick } from '../killick/index.js';
import { byId, fill, make } from './dom.js';
import { droppedFiles } from './files.js';
import { bytes, count } from './format.js';
import { Kept } from './kept.js';
import { POLICIES } from './words.js';

/**
 * @typedef {import('./loader.js').Choice} Choice
 * @typedef {import('../killick/index.js').Fit} Fit
 * @typedef {import('../killick/index.js').KvFormat} KvFormat
 * @typedef {'small' | 'smollm2' | 'files' | 'address'} Way
 */

/** @type {Choice} */
export const SMALL = { name: 'killick-4m', open: { model: 'killick-4m' } };

const SMOLLM2 = 'bartowski/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct-Q8_0.gguf';
/** The adapter lies beside this page. */
const ADAPTER = {
  name: 'smollm2-anchor',
  files: {
    'adapter_config.json': new URL('models/smollm2-anchor/adapter_config.json', document.baseURI).href,
    'adapter_model.safetensors': new URL('models/smollm2-anchor/adapter_model.safetensors', document.baseURI).href,
  },
};

/** @type {{ way: Way, name: string, says: string }[]} */
const WAYS = [
  { way: 'small', name: 'killick-4m', says: 'Comes with the page. 4 million parameters, trained with anchors on old English prose: it continues a text, and knows nothing.' },
  { way: 'smollm2', name: 'SmolLM2-135M-Instruct with anchors', says: 'Chats, a little. A stock model with an adapter that teaches it to live with anchors; about 150 MB from Hugging Face.' },
  { way: 'files', name: 'A file or folder of yours', says: 'GGUF, or a folder with safetensors, config.json and tokenizer.json. It stays on this computer.' },
  { way: 'address', name: 'An address', says: 'org/name or org/name/file.gguf on Hugging Face, or the https address of a .gguf or .safetensors file.' },
];

export class Models {
  /** @type {Way} */
  #way = 'small';
  /** @type {File[]} */
  #files = [];
  /** @type {AbortController | null} */
  #inspecting = null;
  /** @type {Choice | null} what the button loads; until there is something, it looks at the size */
  #ready = null;
  /** @type {HTMLInputElement[]} */
  #radios = [];
  /** @type {[Way, HTMLElement][]} what each way asks for */
  #details = [];

  /**
   * @param {object} actions
   * @param {(choice: Choice) => void} actions.onLoad
   * @param {() => KvFormat} actions.kv
   */
  constructor({ onLoad, kv }) {
    this.onLoad = onLoad;
    this.kv = kv;
    this.kept = new Kept();
    this.dialog = byId('chooser');
    this.fit = make('div', { className: 'fit', role: 'status' });
    this.#build();
    byId('change-model').addEventListener('click', () => this.open());
    this.#takeDrops();
  }

  /**
   * @param {Way} [way]
   * @param {string} [address]
   */
  open(way, address) {
    if (address) this.address.value = address;
    if (!this.dialog.open) this.dialog.showModal();
    this.#choose(way ?? this.#way);
    this.kept.show();
  }

  openKept() {
    this.open();
    this.kept.element.querySelector('h3')?.focus();
  }

  /** The dialog, piece by piece. */
  #build() {
    this.smollm2 = make('input', { type: 'text', id: 'smollm2-address', value: SMOLLM2, spellcheck: false, autocomplete: 'off' });
    this.address = make('input', { type: 'text', id: 'model-address', placeholder: 'org/name/file.gguf', spellcheck: false, autocomplete: 'off' });
    const file = make('input', { type: 'file', className: 'sr', id: 'pick-file', multiple: true, onchange: () => this.#pick(file.files) });
    const folder = make('input', { type: 'file', className: 'sr', id: 'pick-folder', webkitdirectory: true, onchange: () => this.#pick(folder.files) });
    this.picked = make('p', { className: 'quiet', textContent: 'Or drop it anywhere on this page.' });
    /** @type {Partial<Record<Way, HTMLElement>>} */
    const details = {
      smollm2: make('div', { className: 'way-more' }, make('label', { htmlFor: 'smollm2-address', textContent: 'Address of its weights' }), this.smollm2),
      files: make('div', { className: 'way-more' },
        make('div', { className: 'row' },
          make('span', { className: 'pick' }, file, make('label', { htmlFor: 'pick-file', className: 'button', textContent: 'Pick files' })),
          make('span', { className: 'pick' }, folder, make('label', { htmlFor: 'pick-folder', className: 'button', textContent: 'Pick a folder' }))),
        this.picked),
      address: make('div', { className: 'way-more' }, make('label', { htmlFor: 'model-address', textContent: 'Address' }), this.address),
    };
    this.#details = /** @type {[Way, HTMLElement][]} */ (Object.entries(details));
    this.#radios = WAYS.map(({ way }) => make('input', { type: 'radio', name: 'way', id: `way-${way}`, value: way, onchange: () => this.#choose(way) }));
    this.act = make('button', { type: 'submit', className: 'primary' });
    const form = make('form', { className: 'ways', method: 'dialog' },
      make('fieldset', {}, make('legend', { className: 'sr', textContent: 'Which model' }),
        ...WAYS.map(({ way, name, says }, at) => make('div', { className: 'way' },
          make('label', { className: 'way-name', htmlFor: `way-${way}` }, this.#radios[at], make('span', { textContent: name })),
          make('p', { className: 'way-says', textContent: says }), details[way]))),
      this.fit,
      make('div', { className: 'row' }, this.act));
    form.addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#ready ? this.#load(this.#ready) : this.#inspect();
    });
    for (const input of [this.smollm2, this.address]) input.addEventListener('input', () => this.#choose(this.#way));
    this.dialog.append(
      make('div', { className: 'chooser-head' },
        make('h2', { id: 'chooser-title', textContent: 'Choose a model' }),
        make('button', { type: 'button', className: 'quiet-button', textContent: 'Close', onclick: () => this.dialog.close() })),
      form, this.kept.element);
    this.dialog.addEventListener('close', () => this.#inspecting?.abort());
    // A click on the backdrop is one on the dialog itself.
    this.dialog.addEventListener('click', (/** @type {Event} */ event) => event.target === this.dialog && this.dialog.close());
  }

  /** @param {Way} way */
  #choose(way) {
    this.#inspecting?.abort();
    this.#way = way;
    this.#ready = way === 'small' ? SMALL : null;
    this.#radios.forEach((radio) => { radio.checked = radio.value === way; });
    for (const [name, details] of this.#details) details.hidden = name !== way;
    fill(this.fit);
    this.act.textContent = way === 'small' ? 'Load' : 'Check its size';
    this.act.hidden = way === 'files' && this.#files.length === 0;
    this.act.disabled = false;
  }

  /** @param {FileList | File[] | null} files */
  #pick(files) {
    this.#files = [...(files ?? [])];
    this.picked.textContent = this.#files.length === 0 ? 'Or drop it anywhere on this page.'
      : this.#files.length === 1 ? this.#files[0].name : `${count(this.#files.length)} files, ${this.#files[0].name} among them`;
    this.#choose('files');
    // Nothing is fetched to read the header of a file that is already here.
    if (this.#files.length > 0) this.#inspect();
  }

  /** @returns {Choice | null} */
  #chosen() {
    const address = this.address.value.trim();
    if (this.#way === 'small') return SMALL;
    if (this.#way === 'smollm2') return { name: 'SmolLM2-135M-Instruct with anchors', open: { model: this.smollm2.value.trim(), adapters: [{ source: ADAPTER }] } };
    if (this.#way === 'address') return address ? { name: nameOf(address), open: { model: address } } : null;
    if (this.#files.length === 0) return null;
    return { name: this.#files[0].name, open: { model: this.#files.length === 1 ? this.#files[0] : this.#files } };
  }

  /** Reads the header alone, and says what the model is and whether it fits. */
  async #inspect() {
    const choice = this.#chosen();
    if (!choice) return;
    const abort = new AbortController();
    this.#inspecting = abort;
    this.act.disabled = true;
    fill(this.fit, make('p', { className: 'quiet', textContent: 'Reading its header …' }));
    try {
      const fit = await Killick.inspect({ ...choice.open, kv: this.kv(), signal: abort.signal });
      if (abort.signal.aborted) return;
      this.#showFit(choice, fit);
    } catch (error) {
      if (abort.signal.aborted) return;
      const message = /** @type {Error} */ (error).message;
      fill(this.fit, make('div', { className: 'fit-problems' }, make('p', { className: 'fit-title', textContent: 'That cannot be loaded' }), make('p', { textContent: message })));
      this.act.textContent = 'Check again';
    }
    this.act.disabled = false;
  }

  /**
   * @param {Choice} choice
   * @param {Fit} fit
   */
  #showFit(choice, { model, downloadBytes, storageLeft, problems }) {
    const { config, plan } = model;
    const row = (/** @type {string} */ name, /** @type {string} */ value) => make('div', {}, make('dt', { textContent: name }), make('dd', { textContent: value }));
    fill(this.fit,
      make('p', { className: 'fit-title', textContent: choice.name }),
      make('dl', { className: 'facts' },
        row('Download', downloadBytes > 0 ? bytes(downloadBytes) : this.#way === 'files' ? 'none, it is on this computer' : 'none, it is kept in this browser'),
        row('On the device', `${bytes(plan.totalBytes)}: ${bytes(plan.weightsBytes)} of weights, ${bytes(plan.kvBytes)} for the memory of a text`),
        row('Storage left', storageLeft === null ? 'the browser does not say' : bytes(storageLeft)),
        row('What it is', `${model.format}, ${count(config.n_layers)} layers, context ${count(config.context_len)}; ${model.chat ? 'it chats' : 'it continues texts'}`),
        row('Remembers by', POLICIES[model.policy.preset]?.name ?? model.policy.preset)),
      problems.length > 0
        ? make('div', { className: 'fit-problems' }, make('p', { className: 'fit-title', textContent: 'What stands against it' }), make('ul', {}, ...problems.map((problem) => make('li', { textContent: problem }))))
        : make('p', { className: 'fit-good', textContent: 'It fits.' }));
    this.#ready = choice;
    this.act.textContent = downloadBytes > 0 ? `Download ${bytes(downloadBytes)} and load` : problems.length > 0 ? 'Load it all the same' : 'Load';
    this.act.focus();
    this.fit.scrollIntoView({ block: 'nearest' });
  }

  /** @param {Choice} choice */
  #load(choice) {
    this.dialog.close();
    this.onLoad(choice);
  }

  #takeDrops() {
    addEventListener('dragover', (event) => {
      if (![...(event.dataTransfer?.types ?? [])].includes('Files')) return;
      event.preventDefault();
      document.body.classList.add('dropping');
    });
    addEventListener('dragleave', (event) => {
      if (!event.relatedTarget) document.body.classList.remove('dropping');
    });
    addEventListener('drop', async (event) => {
      document.body.classList.remove('dropping');
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      const files = await droppedFiles(event.dataTransfer);
      this.open('files');
      this.#pick(files);
    });
  }
}

/**
 * The end of an address, which people know a model by.
 * @param {string} address
 */
function nameOf(address) {
  return address.split(/[?#]/)[0].split('/').filter(Boolean).at(-1) ?? address;
}
