/** What went wrong, in plain words, with a button that does the sensible thing. */

import { byId, fill, make } from './dom.js';

/**
 * @typedef {import('../killick/index.js').ErrorCode} ErrorCode
 *
 * What a button of a message can do; the page says how.
 * @typedef {'restart' | 'retry' | 'choose' | 'small' | 'kept' | 'none'} Remedy
 * @typedef {Record<Exclude<Remedy, 'none'>, () => void>} Remedies
 */

/** @type {Record<ErrorCode | 'unknown', { title: string, says: string, remedies: Remedy[] }>} */
const TROUBLES = {
  'no-webgpu': { title: 'This browser has no WebGPU', says: 'Killick computes on the graphics device through WebGPU.', remedies: ['retry'] },
  'no-adapter': { title: 'The browser offers no graphics device', says: 'WebGPU is there, but it gave no device to compute on.', remedies: ['retry'] },
  'device-lost': { title: 'The graphics device was lost', says: 'The driver was reset, or the browser took the device away. The text is safe: restarting makes a new device, reads the text again and goes on.', remedies: ['restart', 'retry', 'small'] },
  crashed: { title: 'Killick has failed', says: 'That is a fault in Killick, not yours. A text that was begun is safe: it is read again and goes on.', remedies: ['restart', 'retry', 'small'] },
  'out-of-memory': { title: 'It does not fit into the device’s memory', says: 'Close other tabs, choose a smaller model, or set shorter numbers in the cache or fewer anchors in the settings.', remedies: ['choose', 'small'] },
  'bad-model': { title: 'This model cannot be used', says: 'The file is broken, or of a kind that Killick does not support.', remedies: ['choose', 'small'] },
  'bad-option': { title: 'That setting does not go with this model', says: 'Change it in the settings, then start over.', remedies: ['retry'] },
  integrity: { title: 'The download is not what it should be', says: 'Its bytes differ from those expected, so nothing of it is used or kept.', remedies: ['retry', 'choose'] },
  network: { title: 'The model could not be fetched', says: 'What came is kept: the next try goes on from there.', remedies: ['retry', 'choose', 'small'] },
  quota: { title: 'This browser’s storage is full', says: 'Delete models that you no longer need, then try again.', remedies: ['kept', 'retry'] },
  aborted: { title: 'Cancelled', says: 'What came of the download is kept.', remedies: ['retry', 'choose'] },
  closed: { title: 'The model is no longer loaded', says: 'Load it again to go on.', remedies: ['retry', 'choose'] },
  unknown: { title: 'Something unexpected happened', says: 'That is a fault of this page.', remedies: ['retry', 'small'] },
};

/** @type {Record<Exclude<Remedy, 'none'>, string>} */
const LABELS = {
  restart: 'Restart and go on',
  retry: 'Try again',
  choose: 'Choose another model',
  small: 'Load the small model',
  kept: 'See the kept models',
};

const box = byId('trouble');

/**
 * Shows an error.
 * @param {unknown} error
 * @param {Partial<Remedies>} remedies those that are possible now
 */
export function showTrouble(error, remedies) {
  const { code, message } = /** @type {{ code?: ErrorCode, message?: string }} */ (error ?? {});
  const known = code !== undefined && code in TROUBLES;
  const { title, says, remedies: wanted } = TROUBLES[known ? code : 'unknown'];
  // A fault of the page is one for its developers: they look into the console.
  if (!known) console.error(error);
  const buttons = wanted.flatMap((name) => {
    const run = name === 'none' ? undefined : remedies[name];
    // Where a restart helps, there is no need to begin again.
    if (!run || name === 'none' || (name === 'retry' && wanted.includes('restart') && remedies.restart)) return [];
    return [make('button', { type: 'button', textContent: LABELS[name], onclick: () => { hideTrouble(); run(); } })];
  });
  buttons[0]?.classList.add('primary');
  const close = make('button', { type: 'button', className: 'quiet-button', textContent: 'Dismiss', onclick: hideTrouble });
  fill(box,
    make('h2', { textContent: title }),
    make('p', { textContent: says }),
    message && make('p', { className: 'trouble-detail' }, make('span', { className: 'quiet', textContent: 'In detail: ' }), message),
    make('div', { className: 'row' }, ...buttons, close));
  box.dataset.code = code ?? 'unknown';
  box.hidden = false;
  if (!document.querySelector('dialog[open]')) (buttons[0] ?? box).focus();
  box.scrollIntoView({ block: 'nearest' });
}

export function hideTrouble() {
  box.hidden = true;
}
