// node score.mjs MODEL_DIR OPTIONS_JSON: scores with the WebAssembly build on Dawn and prints the JSON that it returns.

import { engine, filesOf, run } from './engine.mjs';

const [modelDir, options] = process.argv.slice(2);
if (!modelDir || !options) {
  console.error('usage: KILLICK_PKG=DIR KILLICK_NPM=DIR node score.mjs MODEL_DIR OPTIONS_JSON');
  process.exit(2);
}
const { score } = await engine();
await run(() => score(filesOf(modelDir), options));
