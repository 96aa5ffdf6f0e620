// The WebAssembly build goes on with a text on Dawn as the native program does on the same driver.
//
// Run by `scripts/test.sh wasm`, which sets KILLICK_NATIVE, the native program, beside what engine.mjs needs.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const embedded = path.join(here, '..', '..', 'models', 'killick-4m');
const tiny = path.join(here, '..', 'data', 'tiny', 'gqa');
const PROMPT = 'The Lord is';

/** What `killick generate --json` prints. */
function native(...flags) {
  const args = ['generate', PROMPT, '--json', ...flags];
  return JSON.parse(execFileSync(process.env.KILLICK_NATIVE, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
}

function wasm(model, steps, open = {}) {
  const args = [path.join(here, 'write.mjs'), model, JSON.stringify(open), JSON.stringify(steps)];
  return spawnSync(process.execPath, args, { encoding: 'utf8' });
}

function written(...args) {
  const { status, stdout, stderr } = wasm(...args);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

test('writes the greedy and the drawn tokens of the native program', () => {
  const draw = { max_tokens: 24, temperature: 0.8, top_p: 0.95, seed: 7 };
  const wanted = [
    [{ max_tokens: 24, temperature: 0 }, native('--max-tokens', '24', '--temperature', '0')],
    [draw, native('--max-tokens', '24', '--temperature', '0.8', '--top-p', '0.95', '--seed', '7')],
  ];
  for (const [write, want] of wanted) {
    const [got] = written(embedded, [{ append: PROMPT }, { write }]);
    assert.deepEqual(got.ids, want.ids);
    assert.equal(got.text, want.text);
    assert.equal(got.stop, want.stop_reason);
    assert.deepEqual(got.kv, want.kv);
  }
});

test('a text called off keeps what it has, goes on, and ends at a stop', () => {
  const greedy = { max_tokens: 24, temperature: 0 };
  const [whole] = written(embedded, [{ append: PROMPT }, { write: greedy }]);
  const rest = { ...greedy, max_tokens: 24 };
  const [cut, on] = written(embedded, [{ append: PROMPT }, { write: greedy, cancelAfter: 2 }, { write: rest }]);
  assert.ok(cut.ids.length >= 2, cut.ids.join());
  if (cut.ids.length < 24) assert.equal(cut.stop, 'cancelled');
  const both = [...cut.ids, ...on.ids];
  assert.deepEqual(both.slice(0, 24), whole.ids);

  const word = whole.text.trim().split(/\s+/)[2];
  const [stopped] = written(embedded, [{ append: PROMPT }, { write: { ...greedy, stop: [word] } }]);
  assert.equal(stopped.stop, 'stop');
  assert.ok(!stopped.text.includes(word), stopped.text);
});

test('a model without a tokenizer is gone on with by ids', () => {
  const [got] = written(tiny, [{ appendIds: [5, 34, 63] }, { write: { max_tokens: 6, ignore_eos: true } }], { dtype: 'f32' });
  assert.equal(got.ids.length, 6);
  assert.equal(got.text, '');
  assert.equal(got.stop, 'max_tokens');
});

test('what is asked wrongly is an error, not a trap', () => {
  for (const [model, steps, says] of [
    [tiny, [{ append: 'text' }], /no tokenizer/],
    [tiny, [{ appendIds: [321] }], /321/],
    [tiny, [{ write: { max_tokens: 1 } }], /no token/],
    [tiny, [{ appendIds: [5] }, { write: { colour: 1 } }], /colour/],
    [embedded, [{ append: PROMPT }, { write: { temperature: -1 } }], /temperature/],
  ]) {
    const { status, stderr } = wasm(model, steps);
    assert.equal(status, 1, stderr);
    assert.match(stderr, says);
    assert.doesNotMatch(stderr, /unreachable|panicked/);
  }
});
