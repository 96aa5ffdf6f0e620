// What both hosts of wllama do once they have it: load, read a prompt, write greedily, and say how.
// Runs in a page and in Deno, so it knows neither.

/** Reads `the ` so many times and writes so many tokens; fails where the GPU was asked for and the model is not on it. */
export async function complete(Wllama, wasm, model, { device, threads, prompt, fresh }, loaded = async () => {}) {
    const notes = [];
    const note = (...texts) => void notes.push(texts.filter((text) => typeof text === "string").join(" "));
    try {
        const parts = { cacheManager: {}, modelManager: {}, logger: { debug: note, log: note, warn: note, error: note } };
        const engine = new Wllama({ default: wasm }, parts);
        // Otherwise it would ask a server elsewhere for another build.
        engine.setCompat(null);
        await engine.loadModel([new File([model], "model.gguf")], {
            n_ctx: Math.ceil((prompt + fresh + 16) / 256) * 256, n_batch: 512, n_ubatch: 512, n_parallel: 1, seed: 1,
            n_threads: threads, n_gpu_layers: device === "webgpu" ? 99999 : 0, flash_attn: false, log_level: 2,
        });
        const text = notes.join("\n");
        const layers = text.match(/offloaded (\d+)\/\d+ layers to GPU/)?.[1] ?? "0";
        if (device === "webgpu" && layers === "0") {
            throw new Error("no layer is on the GPU: llama.cpp's WebGPU takes only adapters with shader-f16");
        }
        await loaded();
        const start = performance.now();
        const answer = await engine.createCompletion({
            prompt: "the ".repeat(prompt), max_tokens: fresh, temperature: 0, ignore_eos: true,
        });
        const wall = (performance.now() - start) / 1e3;
        const { prompt_tokens: read, completion_tokens: written } = answer.usage;
        const adapter = text.match(/adapter_info: .*/)?.[0].match(/device_desc: (.*)/)?.[1];
        const where = device === "webgpu" ? `WebGPU on ${adapter}` : `wasm, ${engine.getNumThreads()} threads`;
        return [
            `tokens    ${read} read, ${written} written`,
            `text      ${JSON.stringify(answer.choices[0].text)}`,
            `adapter   wllama of llama.cpp ${Wllama.getLibllamaVersion()}, ${where}`,
            `wall_s    ${wall.toFixed(3)}`,
        ];
    } catch (error) {
        throw new Error([...notes.slice(-10), error?.message ?? error].join("\n"), { cause: error });
    }
}
