// The engine in Chromium on SwiftShader and in Firefox on lavapipe writes and scores as the native program does.
//
// Run by scripts/test.sh browser, which sets KILLICK_SITE, the folder that scripts/build-web.sh prints, and KILLICK_NATIVE.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Browser } from './browsers.mjs';
import { bound, native, setting } from './native.mjs';

const PROMPT = 'The Lord is';
const TOKENS = 64;
/** WebAssembly memory never shrinks, so this is its peak. */
const MOST_WASM_BYTES = 256 << 20;
const TEXT = 'And it came to pass in those days, that there went out a decree from the king. The people heard it, and they were afraid. '
  + 'Then said the prophet unto them, Fear not. Go every man to his own city, and take with you bread and water for the journey. '
  + 'And they went, as they were told. But the king of the north was wroth, and he sent his captains to the river, and said, '
  + 'Thou shalt not pass. So they sat down by the water and wept. And the word came in the night, saying, Arise.';
/** Bounds so tight that each policy forgets on this text. */
const POLICIES = [
  { preset: 'full' }, { preset: 'window', window: 24 }, { preset: 'streaming', window: 24, sinks: 3 },
  { preset: 'sepllm', window: 12, maxAnchors: 6 }, { preset: 'anchor', maxAnchors: 3 },
];

const flags = ({ preset, window, sinks, maxAnchors }) => Object.entries({ '--policy': preset, '--window': window, '--sinks': sinks, '--max-anchors': maxAnchors })
  .filter(([, value]) => value !== undefined).flatMap(([flag, value]) => [flag, String(value)]);

for (const kind of ['chromium', 'firefox']) {
  test(`${kind} writes, scores, stops, forgets, and starts again without the network`, async (t) => {
    let cut = false;
    const fault = (_, at) => (cut && at.startsWith('/killick/models/') ? { status: 503 } : null);
    const browser = await Browser.open(kind, setting('KILLICK_SITE'), { fault });
    try {
      const draw = { maxTokens: 24, temperature: 0.8, topP: 0.95, seed: 7 };
      const greedy = native('generate', PROMPT, '--max-tokens', String(TOKENS), '--temperature', '0');
      const scores = POLICIES.map((policy) => native('score', '--text', TEXT, '--path', 'chunk:128', ...flags(policy)));
      const asked = { model: 'killick-4m', prompt: PROMPT, tokens: TOKENS, draw, scores: POLICIES.map((policy, i) => ({ policy, ids: scores[i].ids, path: 'chunk:128' })) };

      const first = await browser.run('writes', asked);
      const tps = (first.result.tokens - 1) / (first.result.decodeMs / 1000);
      t.diagnostic(`${kind}: ${first.device.name || 'a device without a name'} (${first.device.family} kernels): first token ${(first.first / 1000).toFixed(1)} s from the start, `
        + `${tps.toFixed(0)} tokens/s, WebAssembly memory ${(first.stats.wasmBytes / 2 ** 20).toFixed(0)} MiB, ${first.readbacks} readbacks for ${TOKENS} tokens`);
      assert.deepEqual(first.ids, greedy.ids);
      assert.equal(first.words, greedy.text);
      assert.deepEqual(first.memory.kv, greedy.kv);
      assert.equal(first.device.device_type, 'cpu');
      const drawn = native('generate', PROMPT, '--max-tokens', '24', '--temperature', '0.8', '--top-p', '0.95', '--seed', '7');
      assert.deepEqual([first.drawn.ids, first.drawn.text], [drawn.ids, drawn.text]);
      assert.equal(first.drawn.result.reason, drawn.stop_reason);
      for (const [i, score] of scores.entries()) {
        const off = Math.abs(first.scored[i].mean_nll - score.mean_nll);
        assert.ok(off <= bound('mean nats of a text in a browser'), `${score.policy.name}: the mean differs by ${off} nats`);
        assert.deepEqual([first.scored[i].policy, first.scored[i].kv], [score.policy, score.kv]);
      }
      // The comparison could fail: the policies differ among each other.
      const means = scores.map((score) => score.mean_nll);
      assert.ok(Math.max(...means) - Math.min(...means) > 100 * bound('mean nats of a text in a browser'), means.join());
      assert.ok(first.stats.wasmBytes <= MOST_WASM_BYTES);
      assert.ok(first.readbacks <= TOKENS + 1, `${first.readbacks} readbacks`);
      assert.equal(first.buffers, 0, 'buffers were made while tokens were');
      assert.ok(first.phases.includes('download') && first.cached[0].files.every((file) => file.complete));

      cut = true;
      const second = await browser.run('writes', { model: 'killick-4m', prompt: PROMPT, tokens: TOKENS });
      t.diagnostic(`${kind}: from the browser's storage, first token ${(second.first / 1000).toFixed(1)} s from the start`);
      assert.deepEqual(second.ids, greedy.ids);
      assert.ok(!second.phases.includes('download'), second.phases.join());
      cut = false;

      const stops = await browser.run('stops', { model: 'killick-4m', prompt: PROMPT });
      assert.equal(stops.stopped.reason, 'cancelled');
      // What is under way on the device is at most two submits of 16 steps; as many may be on their way from the worker to a busy page.
      assert.ok(stops.extra <= 64, `${stops.extra} tokens came after the stop`);
      const whole = [...greedy.prompt_ids, ...greedy.ids];
      assert.deepEqual(stops.together.slice(0, whole.length), whole.slice(0, stops.together.length));
      assert.deepEqual([stops.undone, stops.left, stops.length], [true, 0, 0]);
      assert.deepEqual(stops.same, whole.slice(0, stops.same.length));

      const loses = await browser.run('loses', { model: 'killick-4m', prompt: PROMPT });
      assert.equal(loses.code, 'device-lost');
      assert.deepEqual(loses.told, ['device-lost', 'device-lost'], 'the page is told once for each device');
      assert.ok(loses.kept >= greedy.prompt_ids.length + 12);
      assert.deepEqual(loses.ids, whole.slice(0, loses.ids.length));
    } finally {
      await browser.close();
    }
  });
}

test('the smallest device of all writes the same', async () => {
  const browser = await Browser.open('chromium', setting('KILLICK_SITE'));
  try {
    const { ids } = native('generate', PROMPT, '--max-tokens', '16', '--temperature', '0');
    for (const kv of ['f16', 'q8_0']) {
      const load = { device: { baseline: true }, kv };
      const small = await browser.run('writes', { model: 'killick-4m', load, prompt: PROMPT, tokens: 16 });
      assert.deepEqual(small.ids, ids, kv);
      assert.deepEqual([small.device.features, small.memory.kv.format], [[], kv]);
    }
  } finally {
    await browser.close();
  }
});
