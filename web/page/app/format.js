/** Numbers as people read them. */

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

/**
 * 12,345
 * @param {number} n
 */
export function count(n) {
  return whole.format(n);
}

/**
 * 1 token, 2 tokens
 * @param {number} n
 * @param {string} one
 * @param {string} [many]
 */
export function counted(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/**
 * 93.4 MiB
 * @param {number} n
 */
export function bytes(n) {
  let unit = 0;
  while (n >= 1000 && unit < UNITS.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit === 0 || n >= 100 ? whole.format(n) : tenth.format(n)} ${UNITS[unit]}`;
}

/**
 * 34 or 3.4: one digit after the point only where it says something.
 * @param {number} n
 */
export function short(n) {
  return n >= 10 ? whole.format(n) : tenth.format(n);
}

/**
 * 40 s, 3 min, 2 h
 * @param {number} ms
 */
export function duration(ms) {
  const s = ms / 1000;
  if (s < 1) return 'less than a second';
  if (s < 100) return `${whole.format(s)} s`;
  if (s < 5400) return `${whole.format(s / 60)} min`;
  return `${tenth.format(s / 3600)} h`;
}

/**
 * How many times more a full cache would hold, in words.
 * @param {number} held
 * @param {number} full
 */
export function ratio(held, full) {
  if (!held || !full) return 'the same';
  const times = full / held;
  return times < 1.05 ? 'the same' : `${short(times)} times less`;
}
