// Downloads that are broken, cut, slow or too large, models on a hub, and the errors that a program gets.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import { Browser } from './browsers.mjs';
import { native, root, setting } from './native.mjs';

const PROMPT = 'The Lord is';
const folder = path.join(root, 'models', 'killick-4m');
const weights = '/killick/models/killick-4m/model.safetensors';
const sha256 = (file) => crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex');

/** A hub as Hugging Face's: a list of files, and the files. */
function hub(repo, names, { wrong = [] } = {}) {
  const list = names.map((name) => {
    const file = path.join(folder, name);
    const [size, hash] = [fs.statSync(file).size, sha256(file)];
    return { type: 'file', path: name, size, ...(name.endsWith('.safetensors') && { lfs: { oid: wrong.includes(name) ? '0'.repeat(64) : hash, size } }) };
  });
  return {
    files: Object.fromEntries(names.map((name) => [`/hub/${repo}/resolve/main/${name}`, path.join(folder, name)])),
    answer: (at) => (at === `/hub/api/models/${repo}/tree/main` ? { body: JSON.stringify(list) } : null),
  };
}

const all = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];

test('downloads that go wrong', async () => {
  let fault = () => null;
  const good = hub('good/model', all);
  const wrong = hub('wrong/model', all, { wrong: ['model.safetensors'] });
  const several = { files: {}, answer: (at) => (at === '/hub/api/models/two/models/tree/main' ? { body: JSON.stringify(['a.gguf', 'b.gguf'].map((path) => ({ type: 'file', path, size: 9 }))) } : null) };
  const behind = (at) => (at.startsWith('/hub/api/models/behind/') ? { status: 401 } : null);
  const browser = await Browser.open('chromium', setting('KILLICK_SITE'), {
    files: { ...good.files, ...wrong.files, '/elsewhere/killick.safetensors': path.join(folder, 'model.safetensors'), '/elsewhere/config.json': path.join(folder, 'config.json'), '/broken/model.gguf': path.join(root, 'README.md') },
    fault: (request, at) => good.answer(at) ?? wrong.answer(at) ?? several.answer(at) ?? behind(at) ?? fault(request, at),
  });
  const hubUrl = `${browser.url}hub`;
  const { ids } = native('generate', PROMPT, '--max-tokens', '8', '--temperature', '0');
  const writes = (model, load = {}) => browser.run('writes', { model, load, prompt: PROMPT, tokens: 8 });
  const error = async (load, then) => (await browser.run('errors', { tries: [{ load, then }] }))[0];
  const requests = () => browser.server.log.filter(({ path }) => path === weights).map(({ range }) => range);
  try {
    // One wrong bit.
    fault = (_, at) => (at === weights ? { flip: 5_000_000 } : null);
    const tampered = await error({ model: 'killick-4m' });
    assert.equal(tampered.code, 'integrity');
    assert.match(tampered.message, /model\.safetensors.*SHA-256/);
    const { before, after, room } = await browser.run('kept', { remove: 'killick-4m' });
    assert.ok(!before[0].files.some((file) => file.name === 'model.safetensors'), 'the tampered file was kept');
    assert.deepEqual([before[0].name, after], ['killick-4m', []]);
    assert.ok(room.quota > room.used);

    // A connection that breaks off goes on by itself, where it broke.
    let breaks = 2;
    fault = (_, at) => (at === weights && breaks-- > 0 ? { cutAfter: breaks ? 3_000_000 : 6_000_000 } : null);
    browser.server.log.length = 0;
    const mended = await writes('killick-4m');
    assert.deepEqual(mended.ids, ids);
    const [begun, ...on] = requests();
    assert.equal(begun, null);
    assert.ok(on.length === 2 && on.every((range) => /^bytes=[1-9]\d*-$/.test(range)), requests().join());

    // Called off, and taken up later with what was kept.
    fault = (_, at) => (at.endsWith('model.safetensors') ? { slow: 4_000_000 } : null);
    const url = { files: Object.fromEntries(all.map((name) => [name, `${browser.url}killick/models/killick-4m/${name}`])), name: 'again', sha256: { 'model.safetensors': sha256(path.join(folder, 'model.safetensors')) } };
    const cut = await browser.run('cuts', { load: { model: url }, after: 2_000_000 });
    assert.equal(cut.error.code, 'aborted');
    const kept = cut.cached.find(({ name }) => name === 'again').files.find(({ name }) => name === 'model.safetensors');
    assert.ok(kept.bytes >= 2_000_000 && !kept.complete);
    fault = () => null;
    browser.server.log.length = 0;
    const resumed = await writes(url);
    assert.deepEqual(resumed.ids, ids);
    assert.deepEqual(requests(), [`bytes=${kept.bytes}-`]);
    assert.ok(resumed.phases.includes('check'), 'what was kept is hashed too');

    // A server without ranges sends it all again.
    const plain = { ...url, name: 'no ranges' };
    fault = (_, at) => (at.endsWith('model.safetensors') ? { slow: 4_000_000, noRange: true } : null);
    await browser.run('cuts', { load: { model: plain }, after: 2_000_000 });
    fault = (_, at) => (at.endsWith('model.safetensors') ? { noRange: true } : null);
    assert.deepEqual((await writes(plain)).ids, ids);
    fault = () => null;

    // Nothing kept, all the same.
    const loose = await writes(url, { cache: false });
    assert.deepEqual(loose.ids, ids);

    // On a hub, by name; looked at before it is fetched.
    const fit = await browser.run('inspects', { options: { model: 'good/model', hub: hubUrl } });
    assert.equal(fit.model.config.hidden_size, 256);
    assert.ok(fit.downloadBytes === fit.model.fileBytes && fit.downloadBytes > 7_000_000 && fit.problems.length === 0);
    assert.ok(fit.model.plan.weightsBytes > 7_000_000 && fit.model.plan.kvBytes > 1_000_000);
    const ranges = browser.server.log.filter(({ path }) => path === '/hub/good/model/resolve/main/model.safetensors').map(({ range }) => range);
    assert.ok(ranges.length >= 1 && ranges.every((range) => /^bytes=\d+-\d+$/.test(range)), `looked at by ranges: ${ranges}`);
    assert.deepEqual((await writes('good/model', { hub: hubUrl })).ids, ids);
    assert.equal((await error({ model: 'wrong/model', hub: hubUrl })).code, 'integrity');

    for (const [load, code, says, then] of [
      [{ model: 'no/such', hub: hubUrl }, 'network', /no model of that name/],
      [{ model: 'behind/login', hub: hubUrl }, 'network', /login/],
      [{ model: 'two/models', hub: hubUrl }, 'bad-option', /two\/models\/a\.gguf, two\/models\/b\.gguf/],
      [{ model: 'good/model/none.gguf', hub: hubUrl }, 'bad-option', /no file "none\.gguf"; it has: model\.safetensors/],
      [{ model: 'x' }, 'bad-option', /"x"/],
      [{ model: `${browser.url}page.html` }, 'bad-option', /\.gguf/],
      [{ model: `${browser.url}none/model.gguf` }, 'network', /no such file/],
      [{ model: 'http://127.0.0.1:9/model.gguf' }, 'network', /127\.0\.0\.1:9 can't be reached/],
      [{ model: `${browser.url}broken/model.gguf` }, 'bad-model', /model\.gguf/],
      [{ model: 'killick-4m', dtype: 'q3' }, 'bad-option', /q3/],
      [{ model: 'killick-4m', policy: { preset: 'anchor', colour: 1 } }, 'bad-option', /colour/],
      [{ model: 'killick-4m' }, 'bad-option', /temperature/, { generate: { temperature: -1 } }],
      [{ model: 'killick-4m' }, 'bad-option', /chat template/, { say: 'Hello' }],
      // 256 MB of keys in a layer are more than the smallest device binds.
      [{ model: 'killick-4m', device: { baseline: true }, policy: { preset: 'anchor', maxAnchors: 1_000_000 } }, 'out-of-memory', /largest max-anchors that fits is \d+/],
    ]) {
      const found = await error(load, then);
      assert.deepEqual([found.code, found.name], [code, 'KillickError'], `${JSON.stringify(load)}: ${found.code}: ${found.message}`);
      assert.match(found.message, says);
      assert.doesNotMatch(found.message, /undefined|\[object|panicked|unreachable/);
    }
  } finally {
    await browser.close();
  }
});
