// node soak.mjs MINUTES: lets the engine write in Chromium for so long, and says what its memory does. By hand, not in the suite.
//
// KILLICK_SITE is the folder that scripts/build-web.sh prints.

import { Browser } from './browsers.mjs';
import { setting } from './native.mjs';

const minutes = Number(process.argv[2] ?? 10);
const browser = await Browser.open('chromium', setting('KILLICK_SITE'), { jobMs: (minutes + 2) * 60_000 });
try {
  const samples = await browser.run('soaks', { model: 'killick-4m', minutes, tokens: 200 });
  const kib = (bytes) => (bytes / 1024).toFixed(0).padStart(9);
  console.log('  seconds   tokens  JS heap KiB  WASM KiB  model KiB  text KiB  buffers  bind groups');
  const step = Math.max(1, Math.floor(samples.length / 12));
  for (const [i, s] of samples.entries()) {
    if (i % step && i !== samples.length - 1) continue;
    console.log(`${s.seconds.toFixed(0).padStart(9)} ${String(s.tokens).padStart(8)}    ${kib(s.heap)} ${kib(s.wasmBytes)}  ${kib(s.modelBytes)} ${kib(s.textBytes)} ${String(s.buffers).padStart(8)} ${String(s.bindGroups).padStart(12)}`);
  }
} finally {
  await browser.close();
}
