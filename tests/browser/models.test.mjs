// Choosing a model in the page: files picked and dropped, a download cancelled, models kept and deleted.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { native, root } from './native.mjs';
import { idle, isWeights, open, ready, start, tokens, written } from './page.mjs';

const folder = path.join(root, 'models', 'killick-4m');
const NAMES = ['model.safetensors', 'config.json', 'tokenizer.json', 'tokenizer_config.json'];
const inFolder = NAMES.map((name) => path.join(folder, name));

/** What the server is to do with the weights. */
let weights = null;
let where;
before(async () => { where = await start({ fault: (_, at) => (isWeights(at) ? weights : null) }); });
after(() => where.close());

/** The page with its dialog of models open. */
async function chooser(query = '') {
  const opened = await open(where, { query });
  await ready(opened.page);
  await opened.page.click('#change-model');
  return opened;
}

/** Waits for what the dialog says of a model. */
const verdict = async (page) => {
  await page.waitForSelector('#chooser .fit-title', { state: 'visible' });
  return page.textContent('#chooser .fit');
};

/** Loads what the dialog has looked at, and has it write; the text. */
async function write(page) {
  // What it says of the model before must not be taken for this one's.
  await page.evaluate(() => { document.querySelector('#status').textContent = ''; });
  await page.click('#chooser button.primary');
  await page.waitForSelector('#chooser', { state: 'hidden' });
  await page.waitForFunction(() => /is ready/.test(document.querySelector('#status').textContent));
  await page.fill('#prompt', 'The Lord is');
  await page.click('#go');
  await tokens(page, 12);
  await idle(page);
  return written(page);
}

test('picked files and folders are looked at, loaded, and write what the program writes', { timeout: 240_000 }, async () => {
  const { text } = native('generate', 'The Lord is', '--max-tokens', '12', '--temperature', '0');
  const { page, complaints, close } = await chooser('max_tokens=12&temperature=0');
  const asked = where.server.log.length;

  await page.check('#way-files');
  await page.setInputFiles('#pick-file', path.join(root, 'README.md'));
  assert.match(await verdict(page), /That cannot be loaded.*README\.md/s);

  await page.setInputFiles('#pick-file', inFolder);
  assert.match(await verdict(page), /none, it is on this computer.*It fits/s);
  assert.ok((await write(page)).includes(text.trim()), text);
  assert.equal(await page.textContent('#model-name'), 'model.safetensors');

  await page.click('#change-model');
  await page.setInputFiles('#pick-folder', folder);
  assert.match(await verdict(page), /It fits/);
  assert.ok((await write(page)).includes(text.trim()), text);
  // Nothing of it came from the server.
  assert.deepEqual(where.server.log.slice(asked).filter(({ path: at }) => isWeights(at)), []);
  assert.deepEqual(complaints, []);
  await close();
});

test('dropped files open the dialog and load', { timeout: 240_000 }, async () => {
  const { page, complaints, close } = await open(where, { query: 'max_tokens=12&temperature=0' });
  await ready(page);
  // A program cannot drag files of the computer into a browser, so the page makes them of what its server has.
  await page.evaluate(async (names) => {
    const transfer = new DataTransfer();
    for (const name of names) {
      const bytes = await (await fetch(`killick/models/killick-4m/${name}`)).arrayBuffer();
      transfer.items.add(new File([bytes], name));
    }
    const drag = (kind) => document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
    drag('dragover');
    if (!document.body.classList.contains('dropping')) throw new Error('the page does not show where to drop');
    drag('drop');
  }, NAMES);
  assert.match(await verdict(page), /none, it is on this computer.*It fits/s);
  assert.equal(await page.evaluate(() => document.body.classList.contains('dropping')), false);
  assert.match(await write(page), /The Lord is/);
  assert.equal(await page.textContent('#model-name'), 'model.safetensors');
  assert.deepEqual(complaints, []);
  await close();
});

test('a download is cancelled, what came of it is kept, and it goes on; a kept model is deleted', { timeout: 240_000 }, async () => {
  weights = { slow: 2 << 20 };
  const { page, complaints, close } = await open(where);
  await page.waitForFunction(() => /MB|MiB/.test(document.querySelector('.loading-detail')?.textContent ?? ''));
  await page.click('#loading button');
  await page.waitForFunction(() => /Cancelled/.test(document.querySelector('#status').textContent));
  const whole = fs.statSync(inFolder[0]).size;
  const kept = () => page.$$eval('.kept-row', (rows) => rows.map((row) => row.textContent));

  await page.click('#change-model');
  await page.waitForSelector('.kept-row', { state: 'visible' });
  assert.match((await kept())[0], /killick-4m.*not complete/);
  weights = null;
  const asked = where.server.log.length;
  await page.check('#way-small');
  await page.click('#chooser button.primary');
  await ready(page);
  // The rest was asked for, and no more.
  const [rest] = where.server.log.slice(asked).filter(({ path: at }) => isWeights(at));
  const from = Number(/^bytes=(\d+)-/.exec(rest?.range ?? '')?.[1] ?? 0);
  assert.ok(from > 0 && from < whole, `asked from ${from} of ${whole}`);

  await page.click('#change-model');
  await page.waitForFunction(() => /used/.test(document.querySelector('.kept-row')?.textContent ?? ''));
  await page.click('.kept-row button');
  await page.waitForFunction(() => document.querySelector('.kept-row') === null);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'kept-title');
  assert.match(await page.textContent('.kept-list'), /None yet/);
  assert.deepEqual(complaints, []);
  await close();
});
