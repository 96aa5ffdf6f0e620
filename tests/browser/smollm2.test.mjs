// A model of 98 MB with an adapter, from a server, in Chromium: it chats as natively, and WebAssembly memory stays small.

import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';

import { Browser } from './browsers.mjs';
import { native, root, setting } from './native.mjs';

/** Whatever the model. */
const MOST_WASM_BYTES = 256 << 20;

test('SmolLM2 with the anchor adapter chats in Chromium as natively', async (t) => {
  const model = setting('KILLICK_MODEL');
  const adapter = path.join(root, 'models', 'smollm2-anchor');
  const question = 'Name three colours.';
  const tokens = 12;
  const wanted = native('generate', question, '--chat', '--model', model, '--adapter', adapter, '--max-tokens', String(tokens), '--temperature', '0');
  const browser = await Browser.open('chromium', setting('KILLICK_SITE'), { files: { '/model/SmolLM2.gguf': model } });
  try {
    const files = Object.fromEntries(['adapter_config.json', 'adapter_model.safetensors'].map((name) => [name, `${browser.url}models/smollm2-anchor/${name}`]));
    const load = { adapters: [{ source: { name: 'smollm2-anchor', files } }] };
    const begun = Date.now();
    const chat = await browser.run('chats', { model: `${browser.url}model/SmolLM2.gguf`, load, questions: [question, 'And three animals.'], max_tokens: tokens });
    const [first, second] = chat.answers;
    assert.equal(first.answer, wanted.text);
    assert.ok(second.answer.length > 0 && second.answer !== first.answer, second.answer);
    // The same conversation asked anew, in one piece, says the same.
    assert.equal(chat.whole.choices[0].message.content, second.answer);
    assert.equal(chat.whole.object, 'chat.completion');
    assert.equal(chat.whole.usage.completion_tokens, tokens);
    assert.equal(first.finish, wanted.stop_reason === 'max_tokens' ? 'length' : 'stop');
    const mib = (bytes) => (bytes / 2 ** 20).toFixed(0);
    t.diagnostic(`WebAssembly memory at most ${mib(chat.stats.wasmBytes)} MiB, weights on the device ${mib(chat.stats.modelBytes)} MiB, ${((Date.now() - begun) / 1000).toFixed(0)} s in all`);
    assert.ok(chat.stats.wasmBytes <= MOST_WASM_BYTES, `${mib(chat.stats.wasmBytes)} MiB of WebAssembly memory`);

    const again = await browser.run('inspects', { options: { model: `${browser.url}model/SmolLM2.gguf`, ...load } });
    assert.equal(again.downloadBytes, 0, 'all of it is kept');
    assert.ok(again.model.chat && again.model.policy.preset === 'anchor');
  } finally {
    await browser.close();
  }
});
