// wllama_chromium.mjs MODEL cpu|webgpu THREADS PROMPT_WORDS NEW_TOKENS
// Lets llama.cpp in a browser (npm package @wllama/wllama) read a prompt of that many words and write greedily, in headless chromium.
// Measured are all processes of the browser, from the loaded model to the last token: a parent's own count leaves out some of them.
import { spawn } from "node:child_process";
import { createReadStream, mkdtempSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { used } from "./processes.mjs";

const [model, device, threads, prompt, fresh] = process.argv.slice(2);
if (fresh === undefined || !["cpu", "webgpu"].includes(device)) {
    console.error("usage: wllama_chromium.mjs MODEL cpu|webgpu THREADS PROMPT_WORDS NEW_TOKENS");
    process.exit(2);
}
const here = dirname(fileURLToPath(import.meta.url));
const wllama = dirname(fileURLToPath(import.meta.resolve("@wllama/wllama")));
const seconds = Number(process.env.SECONDS_EACH ?? 900);
const what = { device, threads: Number(threads), prompt: Number(prompt), fresh: Number(fresh) };
const page = `<!doctype html><meta charset="utf-8"><script type="module">
const say = (path, value) => fetch(path, { method: "POST", body: JSON.stringify(value) });
try {
    const [{ Wllama }, { complete }] = await Promise.all([import("/wllama/index.js"), import("/wllama_run.mjs")]);
    const model = await (await fetch("/model.gguf")).blob();
    await say("/done", await complete(Wllama, "/wllama/wasm/wllama.wasm", model, ${JSON.stringify(what)}, () => say("/loaded", 0)));
} catch (error) {
    await say("/failed", String(error));
}
</script>`;

const folder = mkdtempSync(join(tmpdir(), "killick-wllama-"));
let browser;
let before = 0;
const failed = (text) => {
    console.error(`wllama_chromium.mjs: ${text}`);
    finish(1);
};
const limit = setTimeout(() => failed(`no answer in ${seconds} s`), seconds * 1e3);
function finish(code) {
    clearTimeout(limit);
    browser.once("exit", () => {
        rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
        process.exit(code);
    });
    browser.kill("SIGTERM");
}

const posts = {
    "/loaded": () => (before = used(browser.pid)),
    "/done": (lines) => {
        console.log([...lines, `cpu_s     ${(used(browser.pid) - before).toFixed(3)}`].join("\n"));
        finish(0);
    },
    "/failed": failed,
};
const types = { js: "text/javascript", mjs: "text/javascript", wasm: "application/wasm" };
/** What a path of the page stands for, or nothing. */
function file(path) {
    if (path === "/model.gguf") return model;
    if (path === "/wllama_run.mjs") return join(here, path);
    const inside = path.match(/^\/wllama\/((?:\w+\/)*\w+\.(?:js|wasm))$/)?.[1];
    return inside && join(wllama, inside);
}
const server = createServer((request, response) => {
    if (request.method === "POST") {
        const parts = [];
        request.on("data", (part) => parts.push(part));
        request.on("end", () => {
            posts[request.url]?.(JSON.parse(Buffer.concat(parts)));
            response.end();
        });
        return;
    }
    // Threads need memory that is shared, and a page has it only when it is isolated.
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    if (request.url === "/") {
        response.writeHead(200, { "Content-Type": "text/html" }).end(page);
        return;
    }
    const path = file(request.url);
    const size = path && statSync(path, { throwIfNoEntry: false })?.size;
    if (!size) {
        response.writeHead(404).end();
        return;
    }
    const type = types[path.split(".").pop()] ?? "application/octet-stream";
    response.writeHead(200, { "Content-Type": type, "Content-Length": size });
    createReadStream(path).pipe(response);
});
server.listen(0, "127.0.0.1", () => {
    const flags = ["--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"];
    flags.push("--disable-component-update", "--disable-sync", "--enable-unsafe-webgpu", `--user-data-dir=${folder}`);
    flags.push("--enable-webgpu-developer-features", `http://127.0.0.1:${server.address().port}/`);
    browser = spawn(process.env.CHROMIUM ?? "chromium", flags, { stdio: "ignore" });
    browser.on("error", (error) => {
        console.error(`wllama_chromium.mjs: ${error.message}`);
        process.exit(1);
    });
});
