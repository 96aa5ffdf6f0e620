/** The figures, the charts and their table: what one text holds, or two side by side. */

import { Chart } from './chart.js';
import { byId, fill, make } from './dom.js';
import { bytes, count, ratio, short } from './format.js';

/** @typedef {import('./column.js').Column} Column */

/** Rows of the table: evenly picked from what was measured. */
const ROWS = 16;
/** Charts are drawn so often at most. */
const DRAW_MS = 240;

export class Figures {
  #timer = 0;

  /** @param {() => Column[]} columns those on the page, the main one first */
  constructor(columns) {
    this.columns = columns;
    this.host = byId('figures');
    this.table = byId('table');
    this.details = byId('table-details');
    this.details.addEventListener('toggle', () => this.#drawTable());
    this.entries = new Chart(byId('chart-entries'), { y: count, right: (entries) => bytes(entries * this.#entryBytes()), empty: 'Drawn as soon as there is a text.' });
    this.rate = new Chart(byId('chart-rate'), { y: count, height: 124, empty: 'Drawn while the model writes.' });
    this.draw();
  }

  /** Something has changed; drawn soon, together with what else changes until then. */
  change() {
    this.#timer ||= setTimeout(() => this.draw(), DRAW_MS);
  }

  draw() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const columns = this.columns();
    fill(this.host, ...columns.map((column, at) => this.#figures(column, at, columns.length)));
    this.#drawEntries(columns);
    this.#drawRate(columns);
    this.#drawTable();
  }

  #entryBytes() {
    return this.columns()[0]?.view.memory?.entryBytes ?? 0;
  }

  /**
   * @param {Column} column
   * @param {number} at
   * @param {number} of
   */
  #figures(column, at, of) {
    const memory = column.view.memory;
    const held = memory?.kv.bytes_live ?? 0;
    const full = memory?.fullBytes ?? 0;
    const list = make('dl', { className: 'figure-list' },
      figure('Tokens read', memory ? count(memory.length) : '0'),
      figure('Entries held', memory ? count(memory.kv.live) : '0', memory ? anchorsIn(memory) : ''),
      figure('Bytes held', bytes(held)),
      figure('A full cache now', bytes(full)),
      figure('Against a full cache', memory?.length ? ratio(held, full) : '–', '', 'figure-ratio'));
    const name = of > 1 && make('h3', { className: 'figure-name' }, make('span', { className: `swatch ${at ? 'two' : 'one'}` }), column.policyName);
    return make('div', { className: 'figure-set' }, name, list);
  }

  /** @param {Column[]} columns */
  #drawEntries(columns) {
    const longest = Math.max(0, ...columns.map((column) => column.view.memory?.length ?? 0));
    const lines = columns.map((column, at) => /** @type {import('./chart.js').Series} */ ({
      name: column.policyName, look: at ? 'two' : 'one', points: column.history.memory.map(({ tokens, entries }) => [tokens, entries]),
    }));
    const said = columns.map(({ policyName, view }) => `${policyName}: ${count(view.memory?.kv.live ?? 0)} of ${count(view.memory?.length ?? 0)} entries held.`);
    this.entries.show([
      ...(longest && !columns.some((column) => column.text?.policy.preset === 'full') ? [/** @type {import('./chart.js').Series} */ ({ name: 'if everything were kept', look: 'full', points: [[0, 0], [longest, longest]] })] : []),
      ...lines,
    ], `Entries held against tokens read. ${said.join(' ')} A full cache would hold ${count(longest)}.`);
  }

  /** @param {Column[]} columns */
  #drawRate(columns) {
    const lines = columns.map((column, at) => /** @type {import('./chart.js').Series} */ ({ name: column.policyName, look: at ? 'two' : 'one', points: column.history.rate }));
    const said = columns.map(({ policyName, history }) => `${policyName}: ${short(history.rate.at(-1)?.[1] ?? 0)} now.`);
    this.rate.show(lines, `Tokens per second against tokens read. ${said.join(' ')}`);
  }

  /** The table is for those who do not see the charts; it is made while it is open. */
  #drawTable() {
    if (!this.details.open) return;
    const body = this.columns().flatMap(({ policyName, history }) => {
      const points = history.memory;
      const every = Math.max(1, Math.ceil(points.length / ROWS));
      const picked = points.filter((_, at) => (points.length - 1 - at) % every === 0);
      return picked.map((point) => make('tr', {},
        ...[policyName, count(point.tokens), count(point.entries), bytes(point.bytes), bytes(point.fullBytes), rateAt(history.rate, point.tokens)]
          .map((words) => make('td', { textContent: words }))));
    });
    const head = ['Policy', 'Tokens read', 'Entries held', 'Bytes held', 'Full cache', 'Tokens/s'].map((words) => make('th', { scope: 'col', textContent: words }));
    fill(this.table, make('table', {}, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...body)));
  }
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} [more]
 * @param {string} [className]
 */
function figure(name, value, more = '', className = '') {
  return make('div', { className: `figure ${className}` },
    make('dt', { textContent: name }),
    make('dd', {}, value, more && make('span', { className: 'figure-more', textContent: more })));
}

/** @param {import('../killick/index.js').Memory} memory */
function anchorsIn(memory) {
  const n = memory.anchors.length;
  return n ? `${count(n)} ${n === 1 ? 'anchor' : 'anchors'}` : '';
}

/**
 * The speed measured last at this length.
 * @param {[number, number][]} rate
 * @param {number} tokens
 */
function rateAt(rate, tokens) {
  const point = rate.findLast(([length]) => length <= tokens);
  return point ? short(point[1]) : '';
}
