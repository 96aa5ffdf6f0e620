// node write.mjs MODEL_DIR OPEN_JSON STEPS_JSON: goes on with a text by the WebAssembly build on Dawn.
//
// STEPS is a list: {"append": text}, {"appendIds": ids}, {"write": options}, {"write": options, "cancelAfter": tokens}. Printed is for
// each "write" what came out: ids, text, why it ended, and what the cache holds.

import { engine, filesOf, run } from './engine.mjs';

const [modelDir, open, steps] = process.argv.slice(2);
if (!modelDir || !open || !steps) {
  console.error('usage: KILLICK_PKG=DIR KILLICK_NPM=DIR node write.mjs MODEL_DIR OPEN_JSON STEPS_JSON');
  process.exit(2);
}
const { Writer } = await engine();
await run(async () => {
  const writer = await Writer.open(filesOf(modelDir), open);
  try {
    return await write(writer, JSON.parse(steps));
  } finally {
    // SwiftShader crashes when a process ends under its work.
    await writer.settle();
  }
});

/** What the steps bring, as JSON. */
async function write(writer, steps) {
  const written = [];
  for (const step of steps) {
    if (step.append !== undefined) await writer.append(step.append);
    if (step.appendIds) await writer.appendIds(Uint32Array.from(step.appendIds));
    if (!step.write) continue;
    writer.start(JSON.stringify(step.write));
    const [ids, texts] = [[], []];
    for (let piece = await writer.next(); piece !== undefined; piece = await writer.next()) {
      const { id, text } = JSON.parse(piece);
      if (id !== null) ids.push(id);
      texts.push(text);
      if (ids.length === step.cancelAfter) writer.cancel();
    }
    written.push({ ids, text: texts.join(''), stop: JSON.parse(writer.stopReason()), kv: JSON.parse(writer.kv()) });
  }
  return JSON.stringify(written);
}
