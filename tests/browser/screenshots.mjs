// node screenshots.mjs FOLDER [PATTERN] writes pictures of the page in its states: desktop and phone, light and dark.

import fs from 'node:fs';
import path from 'node:path';
import { DESKTOP, idle, isWeights, open, PHONE, ready, start, tokens } from './page.mjs';

const [folder, pattern = '.'] = process.argv.slice(2);
if (!folder) {
  console.error('usage: node screenshots.mjs FOLDER [PATTERN]');
  process.exit(2);
}
fs.mkdirSync(folder, { recursive: true });

let weights = null;
const where = await start({ fault: (_, at) => (isWeights(at) ? weights : null) });
const WRITE = 'seed=7&max_tokens=2000';

/** @type {Record<string, { query?: string, gpu?: boolean, slow?: boolean, act: (page: any) => Promise<void> }>} */
const STATES = {
  empty: { act: ready },
  loading: { slow: true, act: (page) => page.waitForFunction(() => /left/.test(document.querySelector('.loading-detail')?.textContent ?? '')) },
  running: { query: WRITE, act: async (page) => { await ready(page); await page.click('#go'); await tokens(page, 420); } },
  anchor: {
    query: 'seed=7&max_tokens=260',
    act: async (page) => {
      await ready(page);
      await page.click('#go');
      await tokens(page, 260);
      await idle(page);
      await page.focus('button.anchor[tabindex="0"]');
      for (let n = 0; n < 2; n += 1) await page.keyboard.press('ArrowLeft');
    },
  },
  compare: {
    query: 'seed=7&max_tokens=320',
    act: async (page) => {
      await ready(page);
      await page.check('#compare');
      await page.waitForFunction(() => !document.querySelector('#go').disabled);
      await page.click('#go');
      await tokens(page, 300);
    },
  },
  error: {
    query: WRITE,
    act: async (page) => {
      await ready(page);
      await page.click('#go');
      await tokens(page, 150);
      await page.evaluate(() => window.killickPage.destroyDevice());
      await page.waitForSelector('#trouble', { state: 'visible' });
      await idle(page);
    },
  },
  chooser: { act: async (page) => { await ready(page); await page.click('#change-model'); await page.check('#way-smollm2'); } },
  settings: { act: async (page) => { await ready(page); await page.click('#settings > summary'); await page.locator('#set-policy').scrollIntoViewIfNeeded(); } },
  missing: { gpu: false, act: (page) => page.waitForSelector('#help', { state: 'visible' }) },
};

for (const [state, { query, gpu, slow, act }] of Object.entries(STATES)) {
  for (const [place, size] of [['desktop', DESKTOP], ['phone', PHONE]]) {
    for (const dark of [false, true]) {
      const name = `${state}-${place}-${dark ? 'dark' : 'light'}.png`;
      if (!new RegExp(pattern).test(name)) continue;
      weights = slow ? { slow: 1_200_000 } : null;
      const { page, complaints, close } = await open(where, { query, gpu, size, dark });
      await act(page);
      await page.waitForTimeout(400);
      await page.screenshot({ path: path.join(folder, name) });
      for (const complaint of complaints) console.log(`${name}: ${complaint}`);
      await close();
      console.log(name);
    }
  }
}
await where.close();
