// llama_cpp.mjs MODEL cpu|vulkan THREADS PROMPT_TOKENS NEW_TOKENS [BOS_AND_IDS...]
// Lets llama.cpp (npm package node-llama-cpp, prebuilt) read a prompt of that many equal tokens and write greedily, and prints the ids.
// What it costs is measured from outside, by compare.py.
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const [modelPath, device, threads, prompt, fresh, id] = process.argv.slice(2);
if (id === undefined) {
    console.error("usage: llama_cpp.mjs MODEL cpu|vulkan THREADS PROMPT_TOKENS NEW_TOKENS ID");
    process.exit(2);
}
const llama = await getLlama({
    gpu: device === "vulkan" ? "vulkan" : false,
    build: "never", // the prebuilt library, or an error
    maxThreads: Number(threads),
    logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath, gpuLayers: device === "vulkan" ? "max" : 0 });
const contextSize = Number(prompt) + Number(fresh) + 8;
const context = await model.createContext({ contextSize, batchSize: 512, threads: Number(threads), flashAttention: false });
const sequence = context.getSequence();
const ids = [];
const tokens = Array(Number(prompt)).fill(Number(id));
for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    ids.push(token);
    if (ids.length >= Number(fresh)) break;
}
const version = llama.llamaCppRelease?.release ?? "unknown";
console.log(`ids       ${ids.join(" ")}`);
console.log(`adapter   llama.cpp ${version}, ${device}, ${(await llama.getGpuDeviceNames()).join(", ") || "no GPU"}`);
process.exit(0);
