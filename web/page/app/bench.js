/** The page that measures: a model or kernels, as `killick bench` does, and the report to take away. */

import { Killick } from '../killick/index.js';
import { byId, fill, make } from './dom.js';

/** @type {Killick | null} */
let engine = null;
/** @type {import('../killick/index.js').BenchReport | null} */
let report = null;
let stopped = false;

const number = (/** @type {string} */ id) => Math.max(0, Math.trunc(Number(byId(id).value) || 0));

/** @param {string} words */
function say(words) {
  byId('bench-status').textContent = words;
}

/** @param {number} done @param {number} all */
function show(done, all) {
  const bar = byId('bench-progress');
  [bar.max, bar.value] = [Math.max(all, 1), done];
}

/** @param {boolean} running */
function busy(running) {
  byId('bench-go').disabled = running;
  byId('bench-stop').hidden = byId('bench-progress').hidden = !running;
}

/** The tests that the form asks for. */
function tests() {
  const nDepth = number('bench-depth');
  const [nPrompt, nGen] = [number('bench-prompt'), number('bench-gen')];
  return [nPrompt && { nPrompt, nDepth }, nGen && { nGen, nDepth }].filter((test) => test !== 0);
}

async function measure() {
  const repetitions = Math.max(1, number('bench-repetitions'));
  const onRun = (/** @type {import('../killick/index.js').BenchRun} */ { done, all, what }) => {
    show(done, all);
    say(`Measuring: ${what}`);
  };
  const kernels = byId('bench-kernels').checked;
  const wanted = tests();
  if (!kernels && wanted.length === 0) return say('There is nothing to measure: both numbers of tokens are 0.');
  engine = await Killick.load({
    // Kernels need a device and no model of their own; the small one is there at once.
    model: kernels ? 'killick-4m' : byId('bench-model').value,
    onProgress: ({ phase, done, total }) => {
      show(done, total);
      say(phase === 'load' ? 'Loading the model onto the device' : 'Fetching the model');
    },
  });
  const policies = byId('bench-full').checked ? [{}, { preset: /** @type {const} */ ('full') }] : [{}];
  report = kernels ? await engine.benchKernels({ repetitions, onRun }) : await engine.bench({ tests: wanted, policies, repetitions, onRun });
  present(report);
  say('Measured.');
}

/** The report's Markdown as tables: the same columns and figures. @param {import('../killick/index.js').BenchReport} shown */
function present({ markdown, remarks }) {
  const blocks = markdown.trim().split(/\n{2,}/);
  const parts = blocks.map((block) => {
    const rows = block.split('\n').filter((line) => line.startsWith('|')).map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()));
    if (rows.length < 2) return make('p', {}, block);
    const [head, , ...body] = rows;
    return make('table', {},
      make('thead', {}, make('tr', {}, ...head.map((cell) => make('th', { scope: 'col' }, cell)))),
      make('tbody', {}, ...body.map((cells) => make('tr', {}, ...cells.map((cell) => make('td', {}, cell))))));
  });
  fill(byId('bench-tables'), ...parts);
  fill(byId('bench-remarks'), ...remarks.map((remark) => make('li', {}, remark)));
  byId('bench-report').hidden = false;
}

byId('bench-form').addEventListener('submit', async (/** @type {Event} */ event) => {
  event.preventDefault();
  stopped = false;
  busy(true);
  try {
    await measure();
  } catch (error) {
    say(stopped ? 'Stopped.' : `${/** @type {Error} */ (error).message}`);
  } finally {
    await engine?.close();
    engine = null;
    busy(false);
  }
});

byId('bench-stop').addEventListener('click', () => {
  stopped = true;
  engine?.close();
});

byId('bench-copy').addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(report?.markdown ?? '');
    say('Copied as Markdown.');
  } catch {
    say('This browser does not let the page copy; select the table instead.');
  }
});

byId('bench-save').addEventListener('click', () => {
  const url = URL.createObjectURL(new Blob([JSON.stringify(report?.rows, null, 1)], { type: 'application/json' }));
  make('a', { href: url, download: 'killick-bench.json' }).click();
  URL.revokeObjectURL(url);
});

const { ok, help } = await Killick.support();
if (!ok) {
  say(help ?? '');
  byId('bench-go').disabled = true;
}
