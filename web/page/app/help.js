/** What to do where WebGPU is missing, browser by browser, this one first. */

import { byId, fill, make } from './dom.js';

/** @typedef {import('../killick/index.js').Support} Support */

/** @type {{ key: string, name: string, steps: string[] }[]} */
const BROWSERS = [
  { key: 'chromium', name: 'Chrome, Edge, Brave, Opera', steps: [
    'Version 113 or newer has WebGPU on Windows, macOS and ChromeOS; on Android 121 or newer.',
    'Turn on “Use graphics acceleration when available” in Settings, System, and restart the browser.',
    'chrome://gpu says in the line “WebGPU” what stands against it.'] },
  { key: 'linux', name: 'Chrome on Linux', steps: [
    'Open chrome://flags/#enable-unsafe-webgpu and choose Enabled, and #enable-vulkan likewise; then restart.',
    'Or start it so: google-chrome --enable-unsafe-webgpu --enable-features=Vulkan'] },
  { key: 'firefox', name: 'Firefox', steps: [
    'Version 141 or newer has WebGPU on Windows, 145 or newer on Macs with Apple silicon.',
    'Elsewhere open about:config and set dom.webgpu.enabled to true; on Linux also gfx.webgpu.ignore-blocklist. Then restart.'] },
  { key: 'safari', name: 'Safari', steps: [
    'Version 26 or newer has WebGPU on macOS, iOS, iPadOS and visionOS.',
    'In Safari 18 turn on WebGPU in the feature flags: Settings, Feature Flags on a Mac; Settings, Apps, Safari, Advanced on an iPhone or iPad.'] },
];

/** @type {Record<string, { title: string, says: string }>} */
const CASES = {
  'no-webgpu': { title: 'This browser has no WebGPU, or it is turned off', says: 'Killick computes on your graphics device through WebGPU, so that no text leaves this browser.' },
  insecure: { title: 'WebGPU needs a secure address', says: 'Browsers offer WebGPU only to pages that come over https, or from localhost. Open this page under such an address.' },
  'no-adapter': { title: 'The browser offers no graphics device', says: 'WebGPU is there, but it gave no device. Graphics acceleration may be turned off, or the driver may be on the browser’s list of those it does not trust.' },
};

/**
 * Shows the help in place of the page's tools.
 * @param {Support} support
 * @param {() => void} retry
 */
export function showHelp(support, retry) {
  const { title, says } = CASES[support.code ?? 'no-webgpu'];
  const mine = thisBrowser();
  const ordered = [...BROWSERS].sort((a, b) => Number(mine.includes(b.key)) - Number(mine.includes(a.key)));
  const help = byId('help');
  fill(help,
    make('div', { className: 'help-lead' },
      make('h2', { id: 'help-title', textContent: title }),
      make('p', { textContent: says }),
      support.help && make('p', { className: 'help-own', textContent: support.help }),
      make('button', { type: 'button', className: 'primary', textContent: 'Look again', onclick: retry })),
    support.code !== 'insecure' && make('div', { className: 'help-browsers' }, ...ordered.map((browser) => guide(browser, mine.includes(browser.key)))));
  help.hidden = false;
  byId('desk').hidden = true;
  byId('change-model').hidden = true;
}

export function hideHelp() {
  byId('help').hidden = true;
  byId('desk').hidden = false;
  byId('change-model').hidden = false;
}

/**
 * @param {{ name: string, steps: string[] }} browser
 * @param {boolean} mine
 */
function guide({ name, steps }, mine) {
  return make('section', { className: `guide${mine ? ' guide-mine' : ''}` },
    make('h3', {}, name, mine && make('span', { className: 'needs', textContent: 'probably yours' })),
    make('ul', {}, ...steps.map((step) => make('li', { textContent: step }))));
}

/** Which of them this browser is; only for the order in which they stand. */
function thisBrowser() {
  const agent = navigator.userAgent;
  if (/Firefox\//.test(agent)) return ['firefox'];
  if (/Chrome\/|CriOS\//.test(agent)) return /Linux/.test(agent) && !/Android/.test(agent) ? ['linux'] : ['chromium'];
  return /Safari\//.test(agent) ? ['safari'] : [];
}
