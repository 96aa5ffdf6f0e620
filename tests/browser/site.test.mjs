// The site around the writing: a storage that is full, a second visit without a network, and the page that measures.

import assert from 'node:assert/strict';
import test from 'node:test';

import { open, ready, start, violations } from './page.mjs';

test('a full storage is told plainly, and the model loads without being kept', async () => {
  const where = await start();
  const { page, close } = await open(where, { query: '', path: 'bench.html' });
  try {
    const session = await page.context().newCDPSession(page);
    await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(where.server.url).origin, quotaSize: 3_000_000 });
    const tried = await page.evaluate(async () => {
      const { Killick } = await import('/killick/index.js');
      const load = async (options) => {
        try {
          const engine = await Killick.load({ model: 'killick-4m', ...options });
          let text = '';
          for await (const piece of engine.generate('The Lord is', { maxTokens: 4, temperature: 0 })) text += piece.text;
          await engine.close();
          return text;
        } catch (error) {
          return `${error.code}: ${error.message}`;
        }
      };
      // A server that does not say how large a file is: then the disk is full on the way.
      const unknown = Object.fromEntries(['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].map((name) => [name, new URL(`killick/models/killick-4m/${name}`, location.href).href]));
      return { before: await load({}), onTheWay: await load({ model: { files: unknown } }), loose: await load({ cache: false }), kept: await Killick.cache.list() };
    });
    // Chromium tells pages 10 GiB whatever there is, so it is met on the way.
    assert.match(tried.before, /^quota: this browser's storage is full\. Delete a kept model/);
    assert.match(tried.onTheWay, /^quota: .*full/);
    assert.equal(tried.loose, ' the God of Israel');
    assert.ok(tried.kept.every((model) => model.files.every((file) => file.bytes <= 3_000_000)));
  } finally {
    await close();
    await where.close();
  }
});

test('the second visit needs no network', async () => {
  const where = await start();
  const { page, close } = await open(where);
  try {
    await ready(page);
    await page.evaluate(async () => {
      await navigator.serviceWorker.ready;
      const all = (await (await fetch('offline.json')).json()).length;
      while ((await (await caches.open('killick-page')).keys()).length < all) await new Promise((resolve) => setTimeout(resolve, 100));
    });
    await page.context().setOffline(true);
    await page.reload();
    await ready(page);
    assert.equal(await page.textContent('#model-name'), 'killick-4m');
    // And the network was really away.
    assert.equal(await page.evaluate(() => fetch('none.txt').then(() => 'there', () => 'away')), 'away');
  } finally {
    await close();
    await where.close();
  }
});

test('a browser that tells how much room is left is believed before the download', async () => {
  const { checkRoom } = await import('../../web/killick/worker/models.js');
  globalThis.navigator = { storage: { estimate: async () => ({ usage: 9 << 20, quota: 12 << 20 }) } };
  const kept = { name: 'a model', file: async (name) => (name === 'begun' ? new Blob([new Uint8Array(1 << 20)]) : null) };
  await checkRoom(kept, [{ name: 'begun', size: 3 << 20 }, { name: 'of unknown size' }]);
  const tooMuch = checkRoom(kept, [{ name: 'begun', size: 3 << 20 }, { name: 'more', size: 4 << 20 }]);
  await assert.rejects(tooMuch, { code: 'quota', message: /^a model needs 6\.0 MiB more in this browser's storage, which has 3\.0 MiB left\. Delete a kept model, or load without keeping$/ });
});

test('the page that measures gives the rows of killick bench', async () => {
  const where = await start();
  const { page, complaints, close } = await open(where, { query: '', path: 'bench.html' });
  try {
    for (const [id, value] of [['prompt', '32'], ['gen', '16'], ['repetitions', '2']]) await page.fill(`#bench-${id}`, value);
    await page.check('#bench-full');
    await page.click('#bench-go');
    await page.waitForFunction(() => /^(Measured|Stopped|[a-z].*:)/.test(document.getElementById('bench-status').textContent), null, { timeout: 120_000 });
    assert.equal(await page.textContent('#bench-status'), 'Measured.');
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#bench-save')]);
    const chunks = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk);
    const rows = JSON.parse(Buffer.concat(chunks).toString());
    assert.deepEqual(rows.map(({ policy, test }) => `${policy} ${test}`), ['anchor pp32', 'anchor tg16', 'full pp32', 'full tg16']);
    for (const row of rows) {
      assert.ok(row.avg_ts > 0 && row.samples_ns.length === 2 && row.bandwidth > 0, JSON.stringify(row));
      assert.match(row.platform, /^Chrome \d+/);
    }
    assert.ok(await page.locator('#bench-tables td').count() > 8);
    assert.deepEqual(await violations(page), []);
    assert.deepEqual(complaints, []);
  } finally {
    await close();
    await where.close();
  }
});
