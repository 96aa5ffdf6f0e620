// wllama_deno.mjs MODEL cpu|webgpu THREADS PROMPT_WORDS NEW_TOKENS
// Lets the browser's llama.cpp (npm package @wllama/wllama) run in Deno, whose WebGPU is wgpu and so runs on any Vulkan driver, lavapipe among them.
// What it costs is measured from outside, by compare.py. `deno run --unstable-webgpu --allow-all` runs it, where install.sh has put it.

// wllama and Emscripten take Deno for Node.js, by its `process`, and start workers that Deno has not. This makes it look like a browser,
// and the workers with it: what they run is text in blobs, to which the same is put in front.
function likeBrowser() {
    delete globalThis.process;
    const make = URL.createObjectURL;
    const text = `${likeBrowser};likeBrowser();`;
    URL.createObjectURL = (blob) =>
        make.call(URL, blob.type === "text/javascript" ? new Blob([text, blob], { type: blob.type }) : blob);
    const Plain = globalThis.Worker;
    globalThis.Worker = class extends Plain {
        constructor(url, options) {
            super(url, { ...options, type: "module" });
        }
    };
}
likeBrowser();
globalThis.document ??= { baseURI: import.meta.url };

const [model, device, threads, prompt, fresh] = Deno.args;
if (fresh === undefined || !["cpu", "webgpu"].includes(device)) {
    console.error("usage: wllama_deno.mjs MODEL cpu|webgpu THREADS PROMPT_WORDS NEW_TOKENS");
    Deno.exit(2);
}
const { Wllama } = await import("@wllama/wllama");
const { complete } = await import("./wllama_run.mjs");
// From a blob, since the workers have no way to read a file.
const code = await Deno.readFile(new URL("wasm/wllama.wasm", import.meta.resolve("@wllama/wllama")));
const wasm = URL.createObjectURL(new Blob([code], { type: "application/wasm" }));
const what = { device, threads: Number(threads), prompt: Number(prompt), fresh: Number(fresh) };
try {
    const lines = await complete(Wllama, wasm, await Deno.readFile(model), what);
    console.log([...lines, `host      Deno ${Deno.version.deno}, V8 ${Deno.version.v8}`].join("\n"));
    Deno.exit(0);
} catch (error) {
    console.error(`wllama_deno.mjs: ${error.message}`);
    Deno.exit(1);
}
