/** Line charts in SVG, drawn in CSS pixels so that text and strokes stay crisp at every width. */

import { make } from './dom.js';

/**
 * @typedef {object} Series
 * @property {string} name written at the end of its line
 * @property {'one' | 'two' | 'full'} look
 * @property {[number, number][]} points
 */

const SVG = 'http://www.w3.org/2000/svg';
const PAD = { top: 10, right: 12, bottom: 24, left: 40 };

export class Chart {
  /** @type {Series[]} */
  #series = [];
  #width = 0;

  /**
   * @param {HTMLElement} host
   * @param {object} options
   * @param {(y: number) => string} options.y how a value is written
   * @param {((y: number) => string)} [options.right] a second reading of the same axis, at the right
   * @param {number} [options.height]
   * @param {string} options.empty what stands there before there is anything to draw
   */
  constructor(host, { y, right, empty, height = 148 }) {
    this.height = height;
    this.format = y;
    this.right = right;
    this.svg = document.createElementNS(SVG, 'svg');
    this.svg.setAttribute('role', 'img');
    this.svg.setAttribute('height', String(height));
    this.empty = make('p', { className: 'chart-empty', textContent: empty });
    this.legend = make('ul', { className: 'chart-legend', 'aria-hidden': 'true' });
    host.append(this.empty, this.legend, this.svg);
    new ResizeObserver(([entry]) => {
      this.#width = Math.round(entry.contentRect.width);
      this.#draw();
    }).observe(host);
  }

  /**
   * @param {Series[]} series
   * @param {string} summary what a reader who does not see the chart is told
   */
  show(series, summary) {
    this.#series = series.filter((one) => one.points.length > 0);
    this.svg.setAttribute('aria-label', summary);
    this.#draw();
  }

  #draw() {
    const points = this.#series.flatMap((one) => one.points);
    const drawn = points.length > 1;
    this.empty.hidden = drawn;
    this.legend.hidden = !drawn;
    this.svg.toggleAttribute('hidden', !drawn);
    this.svg.replaceChildren();
    if (!drawn || !this.#width) return;

    const padRight = this.right ? 58 : PAD.right;
    this.svg.setAttribute('width', String(this.#width));
    this.svg.setAttribute('viewBox', `0 0 ${this.#width} ${this.height}`);
    const xMax = Math.max(...points.map(([x]) => x), 1);
    const step = niceStep(Math.max(...points.map(([, y]) => y), 1) / (this.height > 130 ? 3 : 2));
    const yMax = step * Math.ceil(Math.max(...points.map(([, y]) => y), 1) / step);
    const x = (/** @type {number} */ v) => PAD.left + (v / xMax) * (this.#width - PAD.left - padRight);
    const y = (/** @type {number} */ v) => this.height - PAD.bottom - (v / yMax) * (this.height - PAD.top - PAD.bottom);

    for (let v = 0; v <= yMax; v += step) {
      this.#node('line', { class: 'grid', x1: PAD.left, x2: this.#width - padRight, y1: y(v), y2: y(v) });
      this.#text(this.format(v), PAD.left - 6, y(v) + 4, 'end');
      if (this.right) this.#text(this.right(v), this.#width - padRight + 6, y(v) + 4, 'start');
    }
    this.#text('0', PAD.left, this.height - 6, 'middle');
    this.#text(`${Math.round(xMax).toLocaleString('en')} tokens`, this.#width - padRight, this.height - 6, 'end');
    for (const { look, points: line } of this.#series) {
      const path = line.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(' ');
      this.#node('polyline', { class: `line ${look}`, points: path });
      const end = line[line.length - 1];
      if (look !== 'full') this.#node('circle', { class: `dot ${look}`, cx: x(end[0]), cy: y(end[1]), r: 3.5 });
    }
    this.legend.replaceChildren(...this.#series.map(({ name, look }) =>
      make('li', {}, make('span', { className: `swatch ${look}` }), name)));
  }

  /**
   * @param {string} name
   * @param {Record<string, string | number>} attributes
   */
  #node(name, attributes) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
    this.svg.append(node);
    return node;
  }

  /**
   * @param {string} text
   * @param {number} x
   * @param {number} y
   * @param {string} anchor
   */
  #text(text, x, y, anchor) {
    this.#node('text', { x, y, 'text-anchor': anchor }).textContent = text;
  }
}

/**
 * The next of 1, 2, 5, 10, 20, … that is not below `least`.
 * @param {number} least
 */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].find((one) => one * power >= least) ?? 10;
  return Math.max(1, step * power);
}
