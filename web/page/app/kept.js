/** The models that this browser keeps: how large they are, and a way to let them go. */

import { Killick } from '../killick/index.js';
import { fill, make } from './dom.js';
import { bytes } from './format.js';

const day = new Intl.DateTimeFormat('en', { dateStyle: 'medium' });

export class Kept {
  constructor() {
    this.list = make('ul', { className: 'kept-list' });
    this.total = make('p', { className: 'quiet' });
    this.clear = make('button', { type: 'button', textContent: 'Delete all', onclick: () => this.#delete(() => Killick.cache.clear()) });
    this.element = make('section', { className: 'kept', 'aria-labelledby': 'kept-title' },
      make('h3', { id: 'kept-title', textContent: 'Kept in this browser', tabIndex: -1 }), this.list, make('div', { className: 'row kept-foot' }, this.total, this.clear));
  }

  /** Reads the list again. */
  async show() {
    try {
      const models = await Killick.cache.list();
      const room = await Killick.cache.estimate();
      fill(this.list, ...models.map((model) => this.#row(model)));
      if (models.length === 0) fill(this.list, make('li', { className: 'quiet', textContent: 'None yet. What you download is kept here, so that it needs no network the next time.' }));
      this.clear.hidden = models.length < 2;
      this.total.textContent = room ? `${bytes(room.used)} of the ${bytes(room.quota)} that this browser allows` : '';
    } catch {
      fill(this.list, make('li', { className: 'quiet', textContent: 'This browser keeps no models for this page.' }));
      this.clear.hidden = true;
      this.total.textContent = '';
    }
  }

  /** @param {import('../killick/index.js').CachedModel} model */
  #row({ name, bytes: size, files, used }) {
    const partial = files.some((file) => !file.complete);
    const more = [bytes(size), partial ? 'not complete' : used > 0 && `used ${day.format(used)}`].filter(Boolean).join(', ');
    return make('li', { className: 'kept-row' },
      make('span', { className: 'kept-name', textContent: name }),
      make('span', { className: 'quiet', textContent: more }),
      make('button', { type: 'button', className: 'small', textContent: 'Delete', 'aria-label': `Delete ${name}`, onclick: () => this.#delete(() => Killick.cache.delete(name)) }));
  }

  /** @param {() => Promise<void>} work */
  async #delete(work) {
    await work().catch(() => {});
    await this.show();
    // The button that had the focus is gone.
    this.element.querySelector('h3')?.focus();
  }
}
