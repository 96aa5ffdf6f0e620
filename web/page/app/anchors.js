/** The card that says what an anchor stands for: on hover, on focus, on tap. Arrow keys go from anchor to anchor. */

import { byId, fill, make } from './dom.js';
import { bytes, count, counted } from './format.js';

/** @typedef {import('./memory.js').MemoryView} MemoryView */

const card = byId('anchor-card');
/** @type {{ view: MemoryView, button: HTMLButtonElement } | null} */
let shown = null;
/** The card stays a moment when the pointer leaves, so that it can be reached. */
let leaving = 0;

/**
 * Makes the anchors of a text answer.
 * @param {MemoryView} view
 */
export function watchAnchors(view) {
  const { root } = view;
  const anchorOf = (/** @type {Event} */ event) => /** @type {HTMLButtonElement | null} */ (/** @type {Element} */ (event.target).closest?.('button.anchor'));

  root.addEventListener('pointerover', (event) => {
    const button = anchorOf(event);
    if (button && event.pointerType === 'mouse') show(view, button);
  });
  root.addEventListener('pointerout', (event) => {
    if (anchorOf(event) && event.pointerType === 'mouse' && document.activeElement !== shown?.button) hideSoon();
  });
  root.addEventListener('focusin', (event) => {
    const button = anchorOf(event);
    if (!button) return;
    rove(view, button);
    show(view, button);
  });
  root.addEventListener('focusout', (event) => {
    if (anchorOf(event)) hide();
  });
  root.addEventListener('click', (event) => {
    const button = anchorOf(event);
    if (button) show(view, button);
  });
  root.addEventListener('keydown', (event) => {
    const button = anchorOf(event);
    if (button) onKey(view, button, event);
  });
}

/**
 * One anchor of a text is a stop of the Tab key, the newest unless another had the focus.
 * @param {MemoryView} view
 * @param {HTMLButtonElement} [wanted]
 */
export function rove(view, wanted) {
  const buttons = view.anchorButtons();
  const target = wanted ?? buttons.find((button) => button === document.activeElement) ?? buttons.at(-1);
  for (const button of buttons) {
    const index = button === target ? 0 : -1;
    if (button.tabIndex !== index) button.tabIndex = index;
  }
}

/** Takes the card away; true if there was one. */
export function hide() {
  clearTimeout(leaving);
  if (!shown) return false;
  shown.view.highlight(-1);
  shown.button.removeAttribute('aria-describedby');
  shown = null;
  card.hidden = true;
  return true;
}

card.addEventListener('pointerenter', () => clearTimeout(leaving));
card.addEventListener('pointerleave', hideSoon);
addEventListener('resize', hide);
document.addEventListener('scroll', () => shown && place(shown.button), { capture: true, passive: true });
document.addEventListener('pointerdown', (event) => {
  const target = /** @type {Element} */ (event.target);
  if (!target.closest('.anchor, .anchor-card')) hide();
});

function hideSoon() {
  clearTimeout(leaving);
  leaving = setTimeout(hide, 180);
}

/**
 * @param {MemoryView} view
 * @param {HTMLButtonElement} button
 */
function show(view, button) {
  clearTimeout(leaving);
  if (shown?.button === button) return;
  hide();
  const { pos, start, text } = view.sentence(Number(button.dataset.pos));
  const tokens = pos - start + 1;
  const entry = view.memory?.entryBytes ?? 0;
  fill(card,
    make('p', { className: 'anchor-text' }, text.trim() || '(no text of its own)'),
    make('dl', { className: 'anchor-facts' },
      fact('Position', count(pos)),
      fact('Stands for', `${counted(tokens, 'token')}, from ${count(start)} on`),
      fact('Holds', `${bytes(entry)} instead of ${bytes(entry * tokens)}`)));
  shown = { view, button };
  card.hidden = false;
  view.highlight(pos);
  button.setAttribute('aria-describedby', card.id);
  place(button);
}

/**
 * @param {string} name
 * @param {string} value
 */
function fact(name, value) {
  return make('div', {}, make('dt', { textContent: name }), make('dd', { textContent: value }));
}

/**
 * Above the anchor where there is room, else below; inside the window in any case.
 * @param {HTMLButtonElement} button
 */
function place(button) {
  const at = button.getBoundingClientRect();
  const size = card.getBoundingClientRect();
  const above = at.top - size.height - 8;
  const top = above >= 8 ? above : at.bottom + 8;
  const left = Math.min(Math.max(8, at.left + at.width / 2 - size.width / 2), innerWidth - size.width - 8);
  card.style.top = `${Math.max(8, Math.min(top, innerHeight - size.height - 8))}px`;
  card.style.left = `${left}px`;
}

/**
 * @param {MemoryView} view
 * @param {HTMLButtonElement} button
 * @param {KeyboardEvent} event
 */
function onKey(view, button, event) {
  const buttons = view.anchorButtons();
  const at = buttons.indexOf(button);
  /** @type {Record<string, number>} */
  const goals = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: buttons.length - 1 };
  const goal = goals[event.key];
  if (goal === undefined) return;
  event.preventDefault();
  buttons[Math.min(Math.max(goal, 0), buttons.length - 1)]?.focus();
}
