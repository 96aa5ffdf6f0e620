/** Loads a model and shows how far it is: phase, bytes, speed, time left. */

import { Killick } from '../killick/index.js';
import { byId, fill, make } from './dom.js';
import { bytes, duration } from './format.js';

/**
 * @typedef {import('../killick/index.js').Progress} Progress
 * @typedef {import('../killick/index.js').OpenOptions} OpenOptions
 * @typedef {import('../killick/index.js').KvFormat} KvFormat
 *
 * What to load, and what people call it.
 * @typedef {{ name: string, open: Pick<OpenOptions, 'model' | 'adapters'> }} Choice
 */

const PHASES = {
  download: 'Downloading',
  check: 'Checking what is already here',
  load: 'Putting it on the device',
};

const panel = byId('loading');
const title = make('h2', { id: 'loading-title' });
const phase = make('p', { className: 'loading-phase' });
const bar = make('progress', { 'aria-labelledby': 'loading-title', max: 1 });
const detail = make('p', { className: 'loading-detail' });
const cancel = make('button', { type: 'button', textContent: 'Cancel' });
fill(panel, title, phase, bar, detail, make('div', { className: 'row' }, cancel));

/**
 * @param {Choice} choice
 * @param {{ kv: KvFormat, f16: boolean }} settings
 * @returns {Promise<Killick>}
 */
export async function load(choice, { kv, f16 }) {
  const abort = new AbortController();
  return during(`Loading ${choice.name}`, abort, (onProgress) =>
    Killick.load({ ...choice.open, kv, device: { f16 }, signal: abort.signal, onProgress }));
}

/**
 * After a lost device: the same model on a new one.
 * @param {Killick} engine
 */
export function restart(engine) {
  return during('A new device, and the text read again', null, (onProgress) => engine.restart(onProgress));
}

/**
 * Shows the panel while `work` goes on.
 * @template T
 * @param {string} words
 * @param {AbortController | null} abort
 * @param {(onProgress: (progress: Progress) => void) => Promise<T>} work
 */
async function during(words, abort, work) {
  title.textContent = words;
  phase.textContent = 'Starting';
  detail.textContent = '';
  bar.removeAttribute('value');
  cancel.hidden = !abort;
  cancel.onclick = () => abort?.abort();
  panel.hidden = false;
  byId('columns').hidden = true;
  try {
    return await work(show);
  } finally {
    panel.hidden = true;
    byId('columns').hidden = false;
  }
}

/** @param {Progress} progress */
function show(progress) {
  phase.textContent = PHASES[progress.phase] ?? progress.phase;
  // Without a total the bar shows only that something goes on.
  if (progress.total > 0) bar.value = Math.min(1, progress.done / progress.total);
  else bar.removeAttribute('value');
  detail.textContent = [
    progress.total > 0 && `${bytes(progress.done)} of ${bytes(progress.total)}`,
    progress.speed && `${bytes(progress.speed)}/s`,
    progress.msLeft !== undefined && progress.done < progress.total && `${duration(progress.msLeft)} left`,
    progress.file,
  ].filter(Boolean).join(' · ');
}
