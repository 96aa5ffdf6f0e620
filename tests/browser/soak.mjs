// node soak.mjs MINUTES [chat]: lets the engine write in Chromium for so long, and says what its memory does. By hand, not in the suite.
//
// It goes on with one text of killick-4m, or with one conversation with SmolLM2 and its anchor adapter. KILLICK_SITE is the folder that
// scripts/build-web.sh prints, KILLICK_MODEL the file that scripts/fetch-model.sh prints.

import { Browser } from './browsers.mjs';
import { setting } from './native.mjs';

const minutes = Number(process.argv[2] ?? 10);
const chats = process.argv[3] === 'chat';
const files = chats ? { '/model/SmolLM2.gguf': setting('KILLICK_MODEL') } : {};
const browser = await Browser.open('chromium', setting('KILLICK_SITE'), { files, jobMs: (minutes + 5) * 60_000 });
try {
  const parts = ['adapter_config.json', 'adapter_model.safetensors'].map((name) => [name, `${browser.url}models/smollm2-anchor/${name}`]);
  const adapter = { adapters: [{ source: { name: 'smollm2-anchor', files: Object.fromEntries(parts) } }] };
  const what = chats ? { model: `${browser.url}model/SmolLM2.gguf`, load: adapter, tokens: 60 } : { model: 'killick-4m', tokens: 200 };
  const samples = await browser.run('soaks', { minutes, ...what });
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
