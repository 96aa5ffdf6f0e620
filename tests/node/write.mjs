// node write.mjs MODEL_DIR OPEN_JSON STEPS_JSON: goes on with a text by the WebAssembly build on Dawn.
//
// STEPS is a list: {"append": text}, {"appendIds": ids}, {"write": options}, {"write": options, "cancelAfter": tokens}. Printed is for
// each "write" what came out: ids, text, why it ended, and what the cache holds. OPEN are the options of load() and those of a text.

import { engine, load, run } from './engine.mjs';

const [modelDir, open, steps] = process.argv.slice(2);
if (!modelDir || !open || !steps) {
  console.error('usage: KILLICK_PKG=DIR KILLICK_NPM=DIR node write.mjs MODEL_DIR OPEN_JSON STEPS_JSON');
  process.exit(2);
}
const exported = await engine();
await run(async () => {
  const { family, baseline, dtype, ...options } = JSON.parse(open);
  const { device, model } = await load(exported, modelDir, { family, baseline, dtype });
  try {
    return await write(await model.text(JSON.stringify(options)), JSON.parse(steps));
  } finally {
    // SwiftShader crashes when a process ends under its work.
    await device.settle();
  }
});

/** What the steps bring, as JSON. */
async function write(text, steps) {
  const written = [];
  for (const step of steps) {
    if (step.append !== undefined) await text.append(text.encode(step.append));
    if (step.appendIds) await text.append(text.closeSegments(Uint32Array.from(step.appendIds)));
    if (!step.write) continue;
    text.start(JSON.stringify(step.write));
    const [ids, words] = [[], []];
    for (let piece = await text.next(); piece !== undefined; piece = await text.next()) {
      const { id, text: word } = JSON.parse(piece);
      if (id !== null) ids.push(id);
      words.push(word);
      if (ids.length === step.cancelAfter) text.cancel();
    }
    written.push({ ids, text: words.join(''), stop: JSON.parse(text.stopReason()), kv: JSON.parse(text.memory()).kv });
  }
  return JSON.stringify(written);
}
