// node score.mjs MODEL_DIR OPTIONS_JSON: scores with the WebAssembly build on Dawn and prints the JSON that it returns.

import { engine, load, run } from './engine.mjs';

const [modelDir, options] = process.argv.slice(2);
if (!modelDir || !options) {
  console.error('usage: KILLICK_PKG=DIR KILLICK_NPM=DIR node score.mjs MODEL_DIR OPTIONS_JSON');
  process.exit(2);
}
const exported = await engine();
await run(async () => {
  const { family, baseline, f16, dtype, ...rest } = JSON.parse(options);
  const { device, model } = await load(exported, modelDir, { family, baseline, f16, dtype });
  try {
    return await model.score(JSON.stringify(rest));
  } finally {
    // SwiftShader crashes when a process ends under its work.
    await device.settle();
  }
});
