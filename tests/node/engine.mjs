// The WebAssembly build on Dawn: the bundle is the one a browser loads; only the three names that it looks for in its surroundings are
// put there first.
//
// KILLICK_PKG is the folder that scripts/build-wasm.sh prints, KILLICK_NPM the one that scripts/npm.sh prints.
// The driver is the Vulkan loader's choice (VK_DRIVER_FILES).

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

/** What the bundle exports, ready to be used. */
export async function engine() {
  const { KILLICK_PKG, KILLICK_NPM } = process.env;
  if (!KILLICK_PKG || !KILLICK_NPM) {
    console.error('KILLICK_PKG and KILLICK_NPM must be set');
    process.exit(2);
  }
  const load = (...parts) => import(pathToFileURL(path.join(...parts)));
  const { create, globals } = await load(KILLICK_NPM, 'node_modules', 'webgpu', 'index.js');
  Object.assign(globalThis, globals);
  globalThis.Window = function Window() {};
  globalThis.window = globalThis;
  Object.defineProperty(globalThis, 'navigator', { value: { gpu: create(['backend=vulkan']) }, configurable: true });

  const { default: init, ...exported } = await load(KILLICK_PKG, 'killick_wasm.js');
  await init({ module_or_path: fs.readFileSync(path.join(KILLICK_PKG, 'killick_wasm_bg.wasm')) });
  return exported;
}

/** The files of a folder by their names, read piece by piece as a browser's are. */
export function filesOf(folder) {
  const files = {};
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(folder, entry.name);
    const read = async (offset, length) => {
      const bytes = new Uint8Array(length);
      const handle = await fs.promises.open(file);
      try {
        const { bytesRead } = await handle.read(bytes, 0, length, offset);
        return bytes.subarray(0, bytesRead);
      } finally {
        await handle.close();
      }
    };
    files[entry.name] = { size: fs.statSync(file).size, read };
  }
  return files;
}

/** A model of a folder on a device. */
export async function load({ Device, Header }, folder, { family, baseline, f16, dtype = 'file' } = {}) {
  const device = await Device.open(JSON.stringify({ family, baseline, f16 }));
  const header = await Header.open(undefined, filesOf(folder));
  return { device, model: await header.load(device, JSON.stringify(dtype), () => {}) };
}

/** Prints what `work` gives, or the message of its error; then the process ends, which Dawn's instance would keep alive. */
export async function run(work) {
  let status = 0;
  try {
    console.log(await work());
  } catch (error) {
    console.error(error?.message ?? String(error));
    status = 1;
  }
  process.exit(status);
}
