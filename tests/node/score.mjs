// node score.mjs MODEL_DIR OPTIONS_JSON: scores with the WebAssembly build on Dawn and prints the JSON that it returns.
//
// The bundle is the one a browser loads; only the three names that it looks for in its surroundings are put there first.
// KILLICK_PKG is the folder that scripts/build-wasm.sh prints, KILLICK_NPM the one that scripts/npm.sh prints.
// The driver is the Vulkan loader's choice (VK_DRIVER_FILES).

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [modelDir, options] = process.argv.slice(2);
const { KILLICK_PKG, KILLICK_NPM } = process.env;
if (!modelDir || !options || !KILLICK_PKG || !KILLICK_NPM) {
  console.error('usage: KILLICK_PKG=DIR KILLICK_NPM=DIR node score.mjs MODEL_DIR OPTIONS_JSON');
  process.exit(2);
}
const load = (...parts) => import(pathToFileURL(path.join(...parts)));

const { create, globals } = await load(KILLICK_NPM, 'node_modules', 'webgpu', 'index.js');
Object.assign(globalThis, globals);
globalThis.Window = function Window() {};
globalThis.window = globalThis;
Object.defineProperty(globalThis, 'navigator', { value: { gpu: create(['backend=vulkan']) }, configurable: true });

const { default: init, score } = await load(KILLICK_PKG, 'killick_wasm.js');
await init({ module_or_path: fs.readFileSync(path.join(KILLICK_PKG, 'killick_wasm_bg.wasm')) });

const files = {};
for (const entry of fs.readdirSync(modelDir, { withFileTypes: true })) {
  if (entry.isFile()) files[entry.name] = new Uint8Array(fs.readFileSync(path.join(modelDir, entry.name)));
}

let status = 0;
try {
  console.log(await score(files, options));
} catch (error) {
  console.error(error?.message ?? String(error));
  status = 1;
}
// Dawn's instance would keep the process alive.
process.exit(status);
