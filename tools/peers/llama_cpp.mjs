// llama_cpp.mjs MODEL cpu|vulkan THREADS PROMPT_WORDS NEW_TOKENS
// Lets llama.cpp (npm package node-llama-cpp, prebuilt) read a prompt of that many words and write greedily, and prints the ids.
// What it costs is measured from outside, by compare.py.
import { readFileSync } from "node:fs";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const [modelPath, device, threads, prompt, fresh] = process.argv.slice(2);
if (fresh === undefined || !["cpu", "vulkan"].includes(device)) {
    console.error("usage: llama_cpp.mjs MODEL cpu|vulkan THREADS PROMPT_WORDS NEW_TOKENS");
    process.exit(2);
}
const llama = await getLlama({
    gpu: device === "vulkan" ? "vulkan" : false,
    build: "never", // the prebuilt library, or an error
    maxThreads: Number(threads),
    logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath, gpuLayers: device === "vulkan" ? "max" : 0 });
const tokens = model.tokenize("the ".repeat(Number(prompt)));
const contextSize = tokens.length + Number(fresh) + 8;
const context = await model.createContext({ contextSize, batchSize: 512, threads: Number(threads), flashAttention: false });
const sequence = context.getSequence();
const ids = [];
for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    ids.push(token);
    if (ids.length >= Number(fresh)) break;
}
const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.resolve("node-llama-cpp"))));
const names = (await llama.getGpuDeviceNames()).join(", ") || "no GPU";
console.log(`ids       ${ids.join(" ")}`);
console.log(`tokens    ${tokens.length} read, ${ids.length} written`);
console.log(`adapter   node-llama-cpp ${version} (llama.cpp ${llama.llamaCppRelease?.release}), ${device}, ${names}`);
process.exit(0);
