/**
 * The text, painted with what is left of it in memory.
 *
 * Each token is *held* (its own entry is in the cache), *kept* (its words are gone, the anchor of its sentence stands for them) or
 * *gone*. The text is cut into runs: pieces of one sentence and one author. A run is one element or a few, never one per token, and
 * runs that have not changed are not touched, so that a text of tens of thousands of tokens stays cheap.
 */

import { make } from './dom.js';

/**
 * Who wrote it: the reader (`prompt`), the model (`written`), or the chat template (`frame`).
 * @typedef {'prompt' | 'written' | 'frame'} Kind
 *
 * @typedef {object} Run
 * @property {number} from its first token
 * @property {number} to one after its last
 * @property {Kind} kind
 * @property {HTMLElement} element
 * @property {string} key what is painted, to see whether it has changed
 * @property {number} anchor the position of the anchor that ends it, or -1
 * @property {HTMLButtonElement | null} button the mark of that anchor
 * @property {string} tail line breaks at its end that stand behind the mark
 *
 * @typedef {import('../killick/index.js').Memory} Memory
 * @typedef {import('../killick/index.js').Token} Token
 */

/** A run without an anchor in it is cut here, so that what is repainted stays small. */
const RUN_TOKENS = 56;
/** A block of text ends at the first end of a sentence after this many tokens: browsers lay out each block on its own. */
const BLOCK_TOKENS = 200;
const SENTENCE_END = /[.!?…]["'”’)\]]*\s*$|\n\s*$/;

export class MemoryView {
  /** @type {string[]} the text of each token */
  texts = [];
  /** @type {number[]} */
  #ids = [];
  /** @type {Run[]} in the order of the text, without gaps */
  runs = [];
  /** @type {{ at: number, kind: Kind, block: string | null }[]} from where on the text is whose */
  #marks = [];
  /** @type {Map<number, number>} anchors seen so far: position to first token of the sentence */
  #starts = new Map();
  /** @type {Memory | null} */
  #memory = null;
  /** @type {HTMLElement | null} */
  #block = null;
  #blockTokens = 0;

  /** @param {HTMLElement} root where the text goes */
  constructor(root) {
    this.root = root;
  }

  get length() {
    return this.texts.length;
  }

  /** @returns {number} where what the model wrote last begins */
  get lastQuestionEnd() {
    return this.#marks.findLast((mark) => mark.kind === 'written')?.at ?? 0;
  }

  /** @returns {Memory | null} what was painted last */
  get memory() {
    return this.#memory;
  }

  /**
   * From position `at` on, the text is of this kind. `block` begins a new block under that heading, which may be empty.
   * @param {number} at
   * @param {Kind} kind
   * @param {string | null} [block]
   */
  mark(at, kind, block = null) {
    this.#marks = this.#marks.filter((mark) => mark.at < at);
    this.#marks.push({ at, kind, block });
  }

  /**
   * How much of what is shown a text still has.
   * @param {readonly Token[]} tokens
   */
  common(tokens) {
    let same = Math.min(this.length, tokens.length);
    while (same > 0 && this.#ids[same - 1] !== tokens[same - 1].id) same -= 1;
    return same;
  }

  /**
   * Takes in what is new of a text, and lets go what it no longer has.
   * @param {readonly Token[]} tokens the whole text
   */
  push(tokens) {
    const same = this.common(tokens);
    if (same < this.length) this.#truncate(same, tokens);
    else this.#fixLast(tokens);

    let run = this.#open();
    let added = '';
    for (let at = this.length; at < tokens.length; at += 1) {
      const { id, text } = tokens[at];
      const mark = this.#marks.find((one) => one.at === at);
      if (mark || !run || this.#isLong(run, text)) {
        if (run) this.#append(run, added);
        added = '';
        run = this.#begin(at, mark?.kind ?? this.#kindAt(at), mark?.block ?? null);
      }
      this.#ids.push(id);
      this.texts.push(text);
      this.#blockTokens += 1;
      run.to = at + 1;
      added += text;
    }
    if (run) this.#append(run, added);
  }

  /**
   * Paints what the cache holds.
   * @param {Memory} memory
   */
  paint(memory) {
    this.#memory = memory;
    for (const { pos, start } of memory.anchors) {
      if (this.#starts.has(pos) || pos >= this.length) continue;
      this.#starts.set(pos, start);
      this.#close(pos, start);
    }
    for (const run of this.runs) this.#paintRun(run, memory);
  }

  clear() {
    this.texts = [];
    this.#ids = [];
    this.runs = [];
    this.#marks = [];
    this.#starts.clear();
    this.#memory = null;
    this.#block = null;
    this.#blockTokens = 0;
    this.root.replaceChildren();
  }

  /**
   * The text of the tokens `[from, to)`.
   * @param {number} from
   * @param {number} [to]
   */
  textOf(from, to) {
    return this.texts.slice(from, to).join('');
  }

  /**
   * What an anchor stands for.
   * @param {number} pos
   */
  sentence(pos) {
    const start = this.#starts.get(pos) ?? pos;
    return { pos, start, text: this.textOf(start, pos + 1), kept: this.#isKept(pos) };
  }

  /**
   * Shows which sentence an anchor stands for; -1 shows none.
   * @param {number} pos
   */
  highlight(pos) {
    const start = this.#starts.get(pos) ?? Infinity;
    for (const run of this.runs) run.element.classList.toggle('shown', run.from >= start && run.to <= pos + 1);
  }

  /** @returns {HTMLButtonElement[]} the marks of the anchors kept, oldest first */
  anchorButtons() {
    return this.runs.flatMap((run) => (run.button && !run.button.hidden ? [run.button] : []));
  }

  /** @returns {Run | null} the run that new text goes to */
  #open() {
    const last = this.runs.at(-1);
    return last && last.anchor < 0 ? last : null;
  }

  /** @param {number} at */
  #kindAt(at) {
    return this.#marks.findLast((mark) => mark.at <= at)?.kind ?? 'written';
  }

  /**
   * A new, empty run behind all others.
   * @param {number} from
   * @param {Kind} kind
   * @param {string | null} heading
   * @returns {Run}
   */
  #begin(from, kind, heading) {
    const full = this.#blockTokens >= BLOCK_TOKENS && SENTENCE_END.test(this.textOf(Math.max(0, from - 4), from));
    const block = this.#block && heading === null && !full ? this.#block : this.#beginBlock(kind, heading);
    const element = make('span', { className: 'run' });
    element.dataset.kind = kind;
    block.append(element);
    const run = { from, to: from, kind, element, key: '', anchor: -1, button: null, tail: '' };
    this.runs.push(run);
    return run;
  }

  /**
   * @param {Kind} kind
   * @param {string | null} heading
   */
  #beginBlock(kind, heading) {
    const block = make('div', { className: `block ${kind}` }, heading && make('p', { className: 'speaker', textContent: heading }));
    this.root.append(block);
    this.#block = block;
    this.#blockTokens = 0;
    return block;
  }

  /**
   * Whether a run is so long that this text begins another: at the end of a sentence, or in any case when it is twice as long.
   * @param {Run} run
   * @param {string} next
   */
  #isLong(run, next) {
    const length = run.to - run.from;
    if (length < RUN_TOKENS || next === '') return false;
    // An anchor without a text of its own belongs to the sentence before it, and so does a closing quotation mark.
    const before = this.textOf(run.to - 4, run.to);
    return length >= 2 * RUN_TOKENS || (SENTENCE_END.test(before) && (/^\s/.test(next) || /\s$/.test(before)));
  }

  /**
   * Lets go the text from position `length` on.
   * @param {number} length
   * @param {readonly Token[]} tokens
   */
  #truncate(length, tokens) {
    const marks = this.#marks.filter((mark) => mark.at < length);
    const memory = this.#memory;
    this.clear();
    this.#marks = marks;
    this.push(tokens.slice(0, length));
    if (memory) this.paint(memory);
  }

  /**
   * Text that was held back comes out with the token before it.
   * @param {readonly Token[]} tokens
   */
  #fixLast(tokens) {
    const last = this.length - 1;
    const text = tokens[last]?.text;
    if (last < 0 || text === undefined || text === this.texts[last]) return;
    this.texts[last] = text;
    const run = this.runs[this.runs.length - 1];
    run.key = '';
    run.element.replaceChildren(part('held', this.textOf(run.from, run.to)));
  }

  /**
   * @param {Run} run
   * @param {string} text
   */
  #append(run, text) {
    if (!text) return;
    const last = run.element.lastElementChild;
    if (last instanceof HTMLElement && last.dataset.state === 'held' && last.lastChild instanceof Text) last.lastChild.appendData(text);
    else run.element.append(part('held', text));
    run.key = '';
  }

  /**
   * Cuts the run that `at` lies in, so that one begins there.
   * @param {number} at
   */
  #split(at) {
    const index = this.#runAt(at);
    const run = this.runs[index];
    if (!run || run.from === at) return;
    const element = make('span', { className: 'run' });
    element.dataset.kind = run.kind;
    const rest = { ...run, from: at, element, key: '' };
    run.element.after(element);
    Object.assign(run, { to: at, key: '', anchor: -1, button: null, tail: '' });
    for (const one of [run, rest]) one.element.replaceChildren(part('held', this.textOf(one.from, one.to)));
    this.runs.splice(index + 1, 0, rest);
  }

  /**
   * The run that a position lies in.
   * @param {number} position
   */
  #runAt(position) {
    let low = 0;
    let high = this.runs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.runs[middle].to <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * Ends a sentence at its anchor.
   * @param {number} pos
   * @param {number} start
   */
  #close(pos, start) {
    this.#split(start);
    this.#split(pos + 1);
    this.#addAnchor(this.runs[this.#runAt(pos)], pos);
  }

  /**
   * @param {Run} run
   * @param {number} pos
   */
  #addAnchor(run, pos) {
    const tokens = pos - (this.#starts.get(pos) ?? pos) + 1;
    // A line break that ends the sentence comes after the mark, which else would stand at the beginning of the next line.
    run.tail = /\n*$/.exec(this.textOf(run.from, run.to))?.[0] ?? '';
    run.key = '';
    const button = make('button', {
      type: 'button', className: 'anchor', tabIndex: -1,
      'aria-label': `Anchor at ${pos}, stands for ${tokens} ${tokens === 1 ? 'token' : 'tokens'}`,
    });
    button.dataset.pos = String(pos);
    Object.assign(run, { anchor: pos, button });
    // Beside the run, not in it: the run is repainted, and the focus must not be lost with it.
    run.element.after(button, run.tail);
  }

  /** @param {number} pos */
  #isKept(pos) {
    const anchors = this.#memory?.anchors ?? [];
    const at = firstFrom(anchors, pos);
    return at < anchors.length && anchors[at].pos === pos;
  }

  /**
   * @param {Run} run
   * @param {Memory} memory
   */
  #paintRun(run, memory) {
    const next = memory.anchors[firstFrom(memory.anchors, run.to - 1)];
    const left = next && next.start <= run.from ? 'kept' : 'gone';
    /** @type {[number, number, string][]} */
    const parts = [];
    const add = (/** @type {number} */ from, /** @type {number} */ to, /** @type {string} */ state) => {
      if (from >= to) return;
      const last = parts.at(-1);
      if (last && last[2] === state) last[1] = to;
      else parts.push([from, to, state]);
    };
    const clamp = (/** @type {number} */ at) => Math.min(Math.max(at, run.from), run.to);
    // What came after the cache was looked at is held: nothing leaves it so young.
    const pinned = clamp(memory.pinned[1]);
    const live = Math.max(pinned, clamp(memory.live[0]));
    add(run.from, pinned, 'held');
    add(pinned, live, left);
    add(live, run.to, 'held');

    const key = parts.map((one) => one.join(' ')).join();
    if (run.button) run.button.hidden = !this.#isKept(run.anchor);
    if (key === run.key) return;
    run.key = key;
    let room = this.textOf(run.from, run.to).length - run.tail.length;
    run.element.replaceChildren(...parts.map(([from, to, state]) => {
      const text = this.textOf(from, to).slice(0, room);
      room -= text.length;
      return part(state, text);
    }));
  }
}

/**
 * @param {string} state
 * @param {string} text
 */
function part(state, text) {
  const element = make('span', { className: 'part' }, text);
  element.dataset.state = state;
  return element;
}

/**
 * The first anchor at or behind a position.
 * @param {{ pos: number }[]} anchors
 * @param {number} pos
 */
function firstFrom(anchors, pos) {
  let low = 0;
  let high = anchors.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (anchors[middle].pos < pos) low = middle + 1;
    else high = middle;
  }
  return low;
}
