// killick_chromium.mjs MODEL SITE PROMPT_WORDS NEW_TOKENS
// Lets killick in a browser read a prompt of that many words and write greedily, in headless chromium; SITE is what `make web` prints.
// Measured are all processes of the browser, from the loaded model to the last token, as wllama_chromium.mjs does.
import { Browser } from "../../tests/browser/browsers.mjs";
import { used } from "./processes.mjs";

const [model, site, prompt, fresh] = process.argv.slice(2);
if (fresh === undefined) {
    console.error("usage: killick_chromium.mjs MODEL SITE PROMPT_WORDS NEW_TOKENS");
    process.exit(2);
}
const browser = await Browser.open("chromium", site, { files: { "/model/model.gguf": model } });
try {
    const load = { model: `${browser.url}model/model.gguf`, cache: false };
    let before = 0;
    const loaded = () => (before = used(browser.process.pid));
    const run = await browser.run("costs", { load, words: Number(prompt), tokens: Number(fresh) }, { loaded });
    console.log([
        `tokens    ${run.read} read, ${run.written} written`,
        `text      ${JSON.stringify(run.text)}`,
        `adapter   killick in chromium, WebGPU on ${run.device}`,
        `wall_s    ${run.seconds.toFixed(3)}`,
        `cpu_s     ${(used(browser.process.pid) - before).toFixed(3)}`,
    ].join("\n"));
} finally {
    await browser.close();
}
