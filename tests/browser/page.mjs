// Opens the demo page in Chromium for the tests of the page and for its screenshots.
//
// KILLICK_SITE is the folder that scripts/build-web.sh prints, KILLICK_NPM the one that scripts/npm.sh prints.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { serve } from '../../web/serve.mjs';

const { KILLICK_SITE, KILLICK_NPM } = process.env;
if (!KILLICK_SITE || !KILLICK_NPM) {
  console.error('KILLICK_SITE and KILLICK_NPM must be set');
  process.exit(2);
}
const modules = path.join(KILLICK_NPM, 'node_modules');
const { chromium } = await import(pathToFileURL(path.join(modules, 'playwright-core', 'index.mjs')));
const AXE = fs.readFileSync(path.join(modules, 'axe-core', 'axe.min.js'), 'utf8');

export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

/** The embedded model's weights, as the page asks for them. */
export const isWeights = (at) => at.endsWith('.safetensors');

/** A browser and a server of the site. `fault` is what the server is to do wrong (serve.mjs). */
export async function start({ fault } = {}) {
  const server = await serve(KILLICK_SITE, { fault });
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--enable-unsafe-webgpu', '--enable-webgpu-developer-features'],
  });
  return { server, browser, close: async () => { await browser.close(); await server.close(); } };
}

/**
 * The page in a context of its own: nothing is kept from another. `script` runs in it before its own.
 * @param {{ server: any, browser: any }} where
 */
export async function open({ server, browser }, { path: at = '', query = '', dark = false, size = DESKTOP, gpu = true, script = () => {} } = {}) {
  const context = await browser.newContext({ viewport: size, colorScheme: dark ? 'dark' : 'light', hasTouch: size.width < 700, reducedMotion: 'no-preference' });
  const page = await context.newPage();
  page.setDefaultTimeout(90_000);
  /** What the browser complains about; a violation of the Content-Security-Policy is such a complaint too. */
  const complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error.stack ?? error)));
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  if (!gpu) await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }));
  await page.addInitScript(script);
  await page.goto(`${server.url}${at}?test&${query}`);
  return { page, complaints, close: () => context.close() };
}

/** Waits until a model is there and a text can be begun. */
export const ready = (page) => page.waitForSelector('.intro', { state: 'visible' });

/** The text of the first column. */
export const written = (page) => page.$eval('.column .text', (element) => element.textContent);

/** Waits until at least this many tokens were read, as the page shows it. */
export const tokens = (page, least) =>
  page.waitForFunction((n) => Number(document.querySelector('#figures dd')?.firstChild?.textContent?.replaceAll(',', '')) >= n, least);

/** Waits until nothing is written any more. */
export const idle = (page) => page.waitForSelector('#stop', { state: 'hidden' });

/** What axe finds that is serious or critical against WCAG 2.2 AA: one line each. */
export async function violations(page) {
  // Evaluated by the debugger, which the page's Content-Security-Policy does not bind.
  await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, {
    preload: false,
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'],
  }));
  return found.violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(' ')}: ${node.any.concat(node.all, node.none).map((check) => check.message).join('; ')}`));
}
