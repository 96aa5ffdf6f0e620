// The package as others get it: its types, what npm would publish, and an application built with Vite.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import zlib from 'node:zlib';

import { native, root, setting } from './native.mjs';
import { serve } from '../../web/serve.mjs';

const modules = path.join(setting('KILLICK_NPM'), 'node_modules');
const packed = path.join(setting('KILLICK_SITE'), 'killick');
/** What a page downloads before a model, compressed as hosts send it. Grows only with a reason, which docs/browser.md gives. */
const MOST_WASM_BROTLI = 1_300_000;

/** An application's folder with the package installed, as npm would. */
function application() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'killick-vite-'));
  fs.cpSync(path.join(root, 'web', 'examples', 'vite'), folder, { recursive: true });
  fs.mkdirSync(path.join(folder, 'node_modules'));
  fs.cpSync(packed, path.join(folder, 'node_modules', 'killick'), { recursive: true });
  for (const name of ['vite', 'typescript']) fs.symlinkSync(path.join(modules, name), path.join(folder, 'node_modules', name));
  return folder;
}

test('the types hold, in the package and for who uses it', () => {
  const folder = application();
  try {
    const lib = 'esnext,dom,dom.iterable,dom.asynciterable';
    const common = ['--target', 'esnext', '--module', 'esnext', '--moduleResolution', 'bundler', '--lib', lib, '--strict', '--noEmit', '--types', ''];
    const tsc = (args) => execFileSync(process.execPath, [path.join(modules, 'typescript', 'bin', 'tsc'), ...common, ...args], { cwd: folder, encoding: 'utf8' });
    const own = path.join(folder, 'node_modules', 'killick');
    // A copy outside node_modules, whose JavaScript the compiler would pass over.
    const sources = path.join(folder, 'sources');
    fs.cpSync(own, sources, { recursive: true });
    const files = fs.readdirSync(sources, { recursive: true }).filter((file) => file.endsWith('.js') && !file.startsWith('wasm') && file !== 'index.js');
    assert.ok(files.length > 8, files.join());
    tsc(['--allowJs', '--checkJs', ...files.map((file) => path.join('sources', file))]);
    tsc(['main.ts']);
    // The check sees a mistake.
    fs.appendFileSync(path.join(folder, 'main.ts'), "\nKillick.load({ model: 'x', polcy: 'full' });\n");
    assert.throws(() => tsc(['main.ts']), ({ stdout }) => /polcy/.test(stdout));
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
});

test('npm would publish what the package needs and nothing else', (t) => {
  const [report] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: packed, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  const files = report.files.map((file) => file.path);
  for (const needed of ['index.js', 'index.d.ts', 'README.md', 'LICENSE-MIT', 'worker/worker.js', 'wasm/killick_wasm_bg.wasm', 'models/killick-4m/files.json', 'models/killick-4m/model.safetensors']) {
    assert.ok(files.includes(needed), `${needed} is missing`);
  }
  assert.ok(!files.some((file) => /test|\.map$|tsconfig/.test(file)), files.join());
  const wasm = fs.readFileSync(path.join(packed, 'wasm', 'killick_wasm_bg.wasm'));
  const brotli = zlib.brotliCompressSync(wasm, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 9 } }).length;
  t.diagnostic(`WebAssembly ${wasm.length} bytes, ${brotli} with brotli; package ${report.size} bytes`);
  assert.ok(brotli <= MOST_WASM_BROTLI, `${brotli} bytes of WebAssembly after brotli`);
});

test('an application built with Vite writes in Chromium', async () => {
  const { chromium } = await import(pathToFileURL(path.join(modules, 'playwright-core', 'index.mjs')).href);
  const folder = application();
  let [browser, server] = [null, null];
  try {
    execFileSync(process.execPath, [path.join(modules, 'vite', 'bin', 'vite.js'), 'build'], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    server = await serve(path.join(folder, 'dist'));
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--enable-unsafe-webgpu'] });
    const page = await browser.newPage();
    const problems = [];
    page.on('pageerror', (error) => problems.push(error.message));
    await page.goto(server.url);
    await page.waitForFunction(() => !document.getElementById('go').disabled || /:/.test(document.getElementById('status').textContent), null, { timeout: 60_000 });
    await page.click('#go');
    await page.waitForFunction(() => /tokens\/s/.test(document.getElementById('status').textContent), null, { timeout: 60_000 });
    const { text } = native('generate', 'The Lord is', '--max-tokens', '60', '--temperature', '0');
    assert.equal(await page.textContent('#text'), `The Lord is${text}`);
    assert.deepEqual(problems, []);
  } finally {
    await browser?.close();
    await server?.close();
    fs.rmSync(folder, { recursive: true, force: true });
  }
});
