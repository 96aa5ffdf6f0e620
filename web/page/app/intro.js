/** What stands where the text will be, before there is one: the idea in three sentences, and words to begin with. */

import { make } from './dom.js';

const CONTINUE = ['The Lord is', 'The king of Israel', 'In the day of trouble'];
const CHAT = ['Tell me about the sea.', 'What is an anchor for?', 'Write a short story.'];

/** @type {[string, 'kept' | 'held'][]} */
const SAMPLE = [['The sea was calm that morning. ', 'kept'], ['No boat had left the harbour. ', 'kept'], ['Then the wind', 'held']];

/**
 * @param {boolean} chat
 * @param {(words: string) => void} onPick
 */
export function intro(chat, onPick) {
  const sample = make('p', { className: 'intro-sample', 'aria-hidden': 'true' }, ...SAMPLE.flatMap(([text, state]) => {
    const part = make('span', { className: 'part' }, text.trim());
    part.dataset.state = state;
    return [part, state === 'kept' && make('span', { className: 'anchor-mark' }), ' '];
  }));
  return make('div', { className: 'intro' },
    sample,
    make('p', {}, 'A language model keeps an entry in memory for each token it has read: the longer the text, the more memory.'),
    make('p', {}, 'With anchors it keeps a sentence only until the sentence ends. Then ', make('strong', { textContent: 'one entry stays, its anchor' }), ', and the words go.'),
    make('p', {}, chat ? 'Ask something, and watch what is left.' : 'Begin a text, and watch what is left.'),
    make('div', { className: 'row suggestions' }, ...(chat ? CHAT : CONTINUE).map((words) =>
      make('button', { type: 'button', className: 'suggestion', textContent: words, onclick: () => onPick(words) }))));
}
