// The demo page in Chromium: by keyboard alone, against WCAG 2.2 AA, under its Content-Security-Policy, and over a lost device.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { idle, isWeights, open, PHONE, ready, start, tokens, violations, written } from './page.mjs';

/** What the server is to do with the weights. */
let weights = null;
let where;
before(async () => { where = await start({ fault: (_, at) => (isWeights(at) ? weights : null) }); });
after(() => where.close());

/** Presses Tab until an element has the focus, as a reader would. */
async function tabTo(page, selector, key = 'Tab') {
  for (let presses = 0; presses < 80; presses += 1) {
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return;
    await page.keyboard.press(key);
  }
  assert.fail(`${selector} was not reached with ${key}`);
}

const status = (page) => page.textContent('#status');

test('by keyboard alone: write, stop, go on, undo, anchors, settings, models', { timeout: 240_000 }, async () => {
  const { page, complaints, close } = await open(where, { query: 'max_tokens=4000&seed=1' });
  await ready(page);

  assert.match(await page.textContent('#device'), /weights are kept in f16/);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'prompt');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('The king of Israel');
  await page.keyboard.press('Enter');
  await tokens(page, 60);
  await page.keyboard.press('Escape');
  await idle(page);
  assert.match(await status(page), /Stopped\./);
  const first = await written(page);
  assert.ok(first.startsWith('The king of Israel'), first.slice(0, 60));

  await tabTo(page, '#go');
  await page.keyboard.press('Enter');
  await page.waitForFunction((length) => document.querySelector('.column .text').textContent.length > length + 150, first.length);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'stop', 'the button that took the place of the one pressed has the focus');
  await page.keyboard.press('Enter');
  await idle(page);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'go');
  const second = await written(page);
  assert.ok(second.startsWith(first), 'going on keeps what was there');

  await tabTo(page, 'button.anchor', 'Shift+Tab');
  await page.waitForSelector('#anchor-card', { state: 'visible' });
  const sentence = await page.textContent('#anchor-card .anchor-text');
  assert.ok(second.includes(sentence), `"${sentence}" stands in the text`);
  const newest = await page.evaluate(() => document.activeElement.dataset.pos);
  await page.keyboard.press('Home');
  const oldest = await page.evaluate(() => document.activeElement.dataset.pos);
  assert.ok(Number(oldest) < Number(newest), `${oldest} before ${newest}`);
  await page.keyboard.press('Escape');
  await page.waitForSelector('#anchor-card', { state: 'hidden' });

  await tabTo(page, '#undo');
  await page.keyboard.press('Enter');
  await ready(page);
  assert.match(await status(page), /Taken back/);
  assert.equal(await page.inputValue('#prompt'), 'The king of Israel');

  await tabTo(page, '#settings > summary');
  await page.keyboard.press('Enter');
  await tabTo(page, '#set-policy');
  await page.keyboard.type('Sliding');
  await tabTo(page, '#set-window');
  await page.keyboard.type('24');
  await tabTo(page, '#set-max_tokens');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('80');
  await tabTo(page, '.offer button');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement.id === 'prompt');
  await page.keyboard.press('Enter');
  await tokens(page, 80);
  await idle(page);
  assert.ok((await page.$$('.part[data-state="gone"]')).length > 0, 'what the window has left behind is shown as forgotten');
  assert.ok((await page.textContent('.part[data-state="held"]')).length > 0);

  await tabTo(page, '#change-model', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#chooser', { state: 'visible' });
  await tabTo(page, '#way-small');
  await page.keyboard.press('ArrowDown');
  assert.ok(await page.isVisible('#smollm2-address'));
  await page.keyboard.press('Escape');
  await page.waitForSelector('#chooser', { state: 'hidden' });
  assert.equal(await page.evaluate(() => document.activeElement.id), 'change-model');

  assert.deepEqual(complaints, []);
  await close();
});

for (const dark of [false, true]) {
  test(`WCAG 2.2 AA, ${dark ? 'dark' : 'light'}: no serious or critical violation`, { timeout: 240_000 }, async (t) => {
    const check = async (state, page) => assert.deepEqual(await violations(page), [], state);

    await t.test('loading', async () => {
      weights = { slow: 1 << 20 };
      const { page, close } = await open(where, { dark });
      await page.waitForSelector('#loading', { state: 'visible' });
      await check('loading', page);
      weights = null;
      await close();
    });

    await t.test('empty, chooser, running, done, anchor card, lost device', async () => {
      const { page, close, complaints } = await open(where, { dark, query: 'max_tokens=4000&seed=1&anchors=3' });
      await ready(page);
      await check('empty', page);
      await page.click('#settings > summary');
      await check('settings', page);
      await page.click('#change-model');
      for (const way of ['smollm2', 'files', 'address']) {
        await page.check(`#way-${way}`);
        await check(`chooser, ${way}`, page);
      }
      await page.keyboard.press('Escape');
      await page.click('#go');
      await tokens(page, 200);
      await check('running', page);
      await page.click('#stop');
      await idle(page);
      await page.click('#table-details > summary');
      await check('done', page);
      await page.focus('button.anchor[tabindex="0"]');
      await check('anchor card', page);
      await page.evaluate(() => window.killickPage.destroyDevice());
      await page.waitForSelector('#trouble', { state: 'visible' });
      await check('lost device', page);
      assert.deepEqual(complaints, []);
      await close();
    });

    await t.test('side by side, on a phone', async () => {
      const { page, close, complaints } = await open(where, { dark, size: PHONE, query: 'max_tokens=60&seed=1' });
      await ready(page);
      await page.check('#compare');
      await page.waitForFunction(() => !document.querySelector('#go').disabled);
      await page.click('#go');
      await tokens(page, 60);
      await idle(page);
      await check('side by side', page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `the page is ${wide} pixels wider than the phone`);
      assert.deepEqual(complaints, []);
      await close();
    });

    await t.test('WebGPU missing', async () => {
      const { page, close, complaints } = await open(where, { dark, gpu: false });
      await page.waitForSelector('#help', { state: 'visible' });
      assert.match(await page.textContent('#help'), /Firefox[\s\S]*Safari/);
      await check('WebGPU missing', page);
      assert.deepEqual(complaints, []);
      await close();
    });
  });
}

test('a model that cannot be fetched: the page says so, and tries again on demand', { timeout: 120_000 }, async () => {
  weights = { status: 503 };
  const { page, close } = await open(where);
  await page.waitForSelector('#trouble', { state: 'visible' });
  assert.equal(await page.getAttribute('#trouble', 'data-code'), 'network');
  assert.deepEqual(await violations(page), []);
  weights = null;
  await page.click('#trouble button.primary');
  await ready(page);
  await close();
});

test('the device is lost in the middle: the page says so, makes another, and goes on with the same text', { timeout: 180_000 }, async () => {
  const { page, complaints, close } = await open(where, { query: 'max_tokens=300&seed=1' });
  await ready(page);
  await page.click('#go');
  await tokens(page, 40);
  await page.evaluate(() => window.killickPage.destroyDevice());
  await page.waitForSelector('#trouble', { state: 'visible' });
  assert.equal(await page.getAttribute('#trouble', 'data-code'), 'device-lost');
  await idle(page);
  const before = await written(page);
  // The button that helps has the focus.
  await page.keyboard.press('Enter');
  await page.waitForSelector('#trouble', { state: 'hidden' });
  await page.waitForFunction((length) => document.querySelector('.column .text').textContent.length > length + 100, before.length);
  await idle(page);
  const text = await written(page);
  assert.ok(text.startsWith(before), `the text goes on: "${before.slice(-60)}" is in "${text.slice(0, before.length + 60).slice(-120)}"`);
  assert.match(await status(page), /as many tokens as the settings allow/);
  assert.deepEqual(complaints, []);
  await close();
});

test('16-bit products are offered where the device has 16-bit floats, and are then asked of the engine', { timeout: 120_000 }, async () => {
  const isOffered = (page) => page.$eval('[data-only="f16"]', (row) => !row.hidden);
  // SwiftShader has none: the page's address may ask for them, and nothing comes of it.
  const plain = await open(where, { query: 'f16=on' });
  await ready(plain.page);
  assert.equal(await isOffered(plain.page), false);
  assert.doesNotMatch(await plain.page.textContent('#device'), /prompts in 16/);
  await plain.close();
  // A page that is told of a graphics device that has them. Its worker is not, so that the engine's refusal shows what it was asked for.
  const told = await open(where, {
    query: 'f16=on',
    script: () => {
      const request = GPU.prototype.requestAdapter;
      GPU.prototype.requestAdapter = async function requestAdapter(options) {
        const adapter = await request.call(this, options);
        return { features: new Set([...adapter.features, 'shader-f16']), info: { isFallbackAdapter: false } };
      };
    },
  });
  await told.page.waitForSelector('#trouble', { state: 'visible' });
  assert.equal(await isOffered(told.page), true);
  assert.match(await told.page.textContent('#trouble'), /f16/);
  // In 32 bits it loads.
  await told.page.evaluate(() => { document.querySelector('#set-f16').value = ''; });
  await told.page.click('#trouble button.primary');
  await ready(told.page);
  await told.close();
});

test('a long prompt: the page says how much of it was read', { timeout: 180_000 }, async () => {
  const { page, complaints, close } = await open(where, { query: 'max_tokens=4&seed=1' });
  await ready(page);
  await page.evaluate(() => {
    window.notes = [];
    const note = document.querySelector('.column-note');
    new MutationObserver(() => window.notes.push(note.textContent)).observe(note, { childList: true, characterData: true, subtree: true });
  });
  await page.fill('#prompt', 'The king of Israel said to the people of the land. '.repeat(80));
  await page.press('#prompt', 'Enter');
  await page.waitForFunction(() => window.notes.some((words) => /^Reading: \d+ of \d{3,} tokens\.$/.test(words)));
  await tokens(page, 500);
  await idle(page);
  assert.equal(await page.textContent('.column-note'), '', 'what is done is not said any more');
  assert.deepEqual(complaints, []);
  await close();
});

test('side by side: both read the same prompt, and the full cache holds more', { timeout: 180_000 }, async () => {
  const { page, complaints, close } = await open(where, { query: 'max_tokens=150&seed=1&prompt=The+Lord+is' });
  await ready(page);
  await page.click('#go');
  await tokens(page, 150);
  await idle(page);
  await page.check('#compare');
  await page.waitForFunction(() => /side by side/.test(document.querySelector('#status').textContent));
  const [one, two] = await page.$$eval('.column .text', (texts) => texts.map((text) => text.textContent));
  assert.ok(one.startsWith('The Lord is') && two.startsWith('The Lord is'), `${one.slice(0, 40)} / ${two.slice(0, 40)}`);
  const held = await page.$$eval('.column-state', (lines) => lines.map((line) => Number(line.textContent.split(' ')[0])));
  assert.ok(held[0] < held[1] / 2, `${held[0]} entries with anchors, ${held[1]} in the full cache`);
  assert.deepEqual(complaints, []);
  await close();
});
