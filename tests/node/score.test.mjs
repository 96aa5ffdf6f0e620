// The WebAssembly build scores a tiny model on Dawn; the native program and PyTorch say what must come out.
//
// Run by `scripts/test.sh wasm`, which sets KILLICK_NATIVE, the native program, beside what score.mjs needs.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const tiny = path.join(here, '..', 'data', 'tiny');
const golden = JSON.parse(fs.readFileSync(path.join(tiny, 'gqa', 'golden.json'), 'utf8'));

/** The bound of a rule in docs/numerics.md, where all tolerances are. */
function bound(rule) {
  const page = fs.readFileSync(path.join(here, '..', '..', 'docs', 'numerics.md'), 'utf8');
  const row = page.split('\n').map((line) => line.split('|').map((cell) => cell.trim())).find((cells) => cells[1] === rule);
  assert.ok(row, `docs/numerics.md has no rule "${rule}"`);
  return Number(row[2]);
}

/** Nats of a token. */
const CLOSE = bound('nats of a token of a tiny model');

/** The flag of the command line for each field of a policy. */
const FLAGS = {
  preset: '--policy', anchors: '--anchor-ids', window: '--window', sinks: '--sinks', isolated: '--isolated', ctx: '--ctx',
  max_anchors: '--max-anchors', max_segment: '--max-segment', max_distance: '--max-distance',
};

/** What the native program prints. */
function scoreNative(model, { ids, policy, path: route, dtype, family }) {
  const flags = Object.entries(policy).flatMap(([field, value]) => {
    assert.ok(FLAGS[field], `no flag is known for the policy field ${field}`);
    return [FLAGS[field], String(value)];
  });
  const args = ['score', '--json', '--model', model, '--ids', ids.join(','), '--path', route, '--dtype', dtype, ...flags];
  if (family) args.push('--family', family);
  return JSON.parse(execFileSync(process.env.KILLICK_NATIVE, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
}

/** What the WebAssembly build returns, run in a process of its own. */
function runWasm(model, options) {
  return spawnSync(process.execPath, [path.join(here, 'score.mjs'), model, JSON.stringify(options)], { encoding: 'utf8' });
}

function scoreWasm(model, options) {
  const { status, stdout, stderr } = runWasm(model, options);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

/** The largest difference of two lists of equal length; a value that is not a number counts as infinitely far. */
function furthest(a, b) {
  assert.equal(a.length, b.length);
  return Math.max(...a.map((value, i) => (Number.isFinite(value) ? Math.abs(value - b[i]) : Infinity)));
}

const wanted = ['full', 'anchor', 'sepllm', 'streaming', 'window'];
const cases = wanted.map((preset) => golden.cases.find(({ spec }) => spec.preset === preset && !('seg_rule' in spec)));

for (const [i, { name, spec, ids, nll }] of cases.entries()) {
  const route = ['ring', 'chunk:7', 'masked'][i % 3];
  const options = { ids, policy: spec, path: route, dtype: 'f32' };
  test(`scores ${name} along ${route} as PyTorch and the native program do`, () => {
    const model = path.join(tiny, 'gqa');
    const wasm = scoreWasm(model, options);
    const native = scoreNative(model, options);
    assert.ok(furthest(wasm.nll, nll) <= CLOSE, `PyTorch differs by ${furthest(wasm.nll, nll)} nats`);
    // Two compilers of the same shaders: equal but for the order of sums.
    assert.ok(furthest(wasm.nll, native.nll) <= CLOSE, `native differs by ${furthest(wasm.nll, native.nll)} nats`);
    for (const field of ['ids', 'policy', 'path', 'kv']) assert.deepEqual(wasm[field], native[field], field);
    assert.equal(wasm.kernels.includes('masked_attention'), route === 'masked', wasm.kernels.join());
  });
}

// Every implementation on Dawn: both families, every format that each reads, single steps and chunks.
const embedded = path.join(here, '..', '..', 'models', 'killick-4m');
const everywhere = [['gpu', 'f32'], ['gpu', 'f16'], ['gpu', 'q8_0'], ['software', 'f32'], ['software', 'f16']];
for (const [family, dtype] of everywhere) {
  for (const route of ['ring', 'chunk:7']) {
    test(`kernels of the ${family} family score ${dtype} weights along ${route} as natively`, () => {
      // Blocks of 32 columns are more than the tiny model has; the other model's own anchors are none of this test.
      const { ids, spec } = cases[dtype === 'q8_0' ? 4 : 1];
      const model = dtype === 'q8_0' ? embedded : path.join(tiny, 'gqa');
      const options = { ids: ids.slice(0, dtype === 'q8_0' ? 12 : 40), policy: spec, path: route, dtype, family };
      const wasm = scoreWasm(model, options);
      const native = scoreNative(model, options);
      assert.ok(furthest(wasm.nll, native.nll) <= CLOSE, `native differs by ${furthest(wasm.nll, native.nll)} nats`);
      assert.deepEqual(wasm.kernels, native.kernels);
      assert.equal(wasm.kernels.includes('attention_texels'), family === 'software', wasm.kernels.join());
    });
  }
}

// SwiftShader has no shader-f16, so there it is seen that it is refused; on lavapipe, where KILLICK_NEEDS_F16 is set, that it runs.
test('products of prompts in 16-bit floats are computed where they were asked for, or refused', () => {
  const { ids, spec } = cases[1];
  const model = path.join(tiny, 'gqa');
  const options = { ids: ids.slice(0, 40), policy: spec, path: 'chunk:40', dtype: 'f32', family: 'gpu' };
  const usual = scoreWasm(model, options);
  assert.ok(!usual.kernels.includes('matmul_tiled_f16'), usual.kernels.join());
  const { status, stdout, stderr } = runWasm(model, { ...options, f16: true });
  if (status !== 0) {
    assert.match(stderr, /shader-f16/);
    assert.equal(process.env.KILLICK_NEEDS_F16, undefined, stderr);
    return;
  }
  const wasm = JSON.parse(stdout);
  assert.ok(wasm.kernels.includes('matmul_tiled_f16'), wasm.kernels.join());
  const far = furthest(wasm.nll, usual.nll);
  assert.ok(far > 0 && far <= bound('nats of a token of a tiny model by 16-bit products'), `it moves a token by ${far} nats`);
  const refused = runWasm(model, { ...options, family: 'software', f16: true });
  assert.match(refused.stderr, /family gpu can/);
});

test('the comparison can fail: another policy moves the loss far beyond the tolerance', () => {
  const { ids, nll } = cases[0];
  const wasm = scoreWasm(path.join(tiny, 'gqa'), { ids, policy: cases[1].spec, path: 'ring', dtype: 'f32' });
  assert.ok(furthest(wasm.nll, nll) > 100 * CLOSE);
});

test('a GGUF file gives what the safetensors folder gives', () => {
  const { ids, spec, nll } = cases[0];
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'killick-node-'));
  try {
    fs.copyFileSync(path.join(tiny, 'gqa.f32.gguf'), path.join(folder, 'gqa.f32.gguf'));
    const wasm = scoreWasm(folder, { ids, policy: spec, path: 'ring', dtype: 'f32' });
    assert.ok(furthest(wasm.nll, nll) <= CLOSE);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test('a damaged model, an unknown option and a token outside the vocabulary are errors, not traps', () => {
  const { ids, spec } = cases[0];
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'killick-node-'));
  try {
    for (const file of ['config.json', 'model.safetensors']) fs.copyFileSync(path.join(tiny, 'gqa', file), path.join(folder, file));
    fs.truncateSync(path.join(folder, 'model.safetensors'), 1000);
    const good = { ids, policy: spec, path: 'ring', dtype: 'f32' };
    for (const [model, options, says] of [
      [folder, good, /model\.safetensors/],
      [path.join(tiny, 'gqa'), { ...good, colour: 1 }, /colour/],
      [path.join(tiny, 'gqa'), { ...good, ids: [1, 321] }, /321/],
    ]) {
      const { status, stderr } = runWasm(model, options);
      assert.equal(status, 1, stderr);
      assert.match(stderr, says);
      assert.doesNotMatch(stderr, /unreachable|panicked/);
    }
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
