/**
 * The worker: holds the WebAssembly module, one device, one model and its texts, and does what the page asks by message.
 *
 * In:  { id, call, args }        a request; { id, abort: true } calls it off
 * Out: { id, value } | { id, error: { code, message } }   its end
 *      { id, event }             something on the way: progress, tokens
 *      { lost: { code, message } }   the device went, or this module crashed, with nothing asked
 */

import init, * as engine from '../wasm/killick_wasm.js';
import { asKillickError, KillickError } from '../error.js';
import { cause, fetched, looked } from './models.js';
import { policyJson, snake, TextOnModel } from './texts.js';
import * as store from './store.js';

/** How often a device on which nothing runs is looked at, in milliseconds. */
const WATCH_MS = 500;

/** @type {Promise<any> | null} */
let ready = null;
/** @type {any} */
let memory = null;
/** @type {any} */
let device = null;
/** @type {any} */
let model = null;
/** @type {Map<number, TextOnModel>} */
const texts = new Map();
let nextText = 1;
/** @type {Map<number, AbortController>} */
const running = new Map();
/** @type {KillickError | null} why nothing works any more */
let dead = null;
let chats = false;
/** How the model was loaded, for reports. */
let loaded = { dtype: 'file', ms: 0 };

async function wasm() {
  ready ??= init().then((exports) => (memory = exports.memory));
  await ready;
  return engine;
}

/** @param {any} device_ */
function watch(device_) {
  const timer = setInterval(() => {
    try {
      device_.check();
    } catch (error) {
      clearInterval(timer);
      lost(fault(error));
    }
  }, WATCH_MS);
}

/** @param {KillickError} error */
function lost(error) {
  if (dead) return;
  dead = error;
  postMessage({ lost: { code: error.code, message: error.message } });
}

/** What was thrown; a trap of the module ends it. @param {any} thrown */
function fault(thrown) {
  if (!(thrown instanceof WebAssembly.RuntimeError)) return asKillickError(thrown);
  return new KillickError('crashed', engine.lastPanic() ?? `the engine stopped: ${thrown.message}`);
}

/** @param {any} options @returns {any} */
const textOptions = ({ policy, system, kv, chat = chats }) => JSON.stringify(snake({ policy: policyJson(policy), system, kv, chat }));

/** @param {number} text */
function textOf(text) {
  const found = texts.get(text);
  if (!found) throw new KillickError('closed', 'this text was closed');
  return found;
}

/** What can be called. Each takes its arguments, a way to tell the page of progress, and a signal. */
const calls = {
  /** @param {any} options @param {(event: any) => void} tell @param {AbortSignal} signal */
  async load(options, tell, signal) {
    const begun = performance.now();
    const engine_ = await wasm();
    const opening = engine_.Device.open(JSON.stringify(snake(options.device)));
    // Both take their time; an error of either ends the load.
    const [, opened] = await Promise.all([opening, fetched(engine_, options, { signal, tell: (progress) => tell({ progress }) })]);
    device = await opening;
    watch(device);
    const { header, sources, fileBytes } = opened;
    const dtype = JSON.stringify(options.dtype ?? 'file');
    const info = JSON.parse(header.describeFor(device, textOptions({ ...options, chat: false }), dtype));
    if (signal.aborted) throw new KillickError('aborted', 'called off');
    const progress = (/** @type {number} */ done, /** @type {number} */ total) => tell({ progress: { phase: 'load', done, total } });
    try {
      model = await header.load(device, dtype, progress);
    } catch (error) {
      throw cause(sources) ?? error;
    }
    chats = info.chat;
    loaded = { dtype: options.dtype ?? 'file', ms: performance.now() - begun };
    return { model: modelInfo(info, fileBytes), device: JSON.parse(device.info()) };
  },

  /** @param {any} options @param {any} _ @param {AbortSignal} signal */
  async inspect(options, _, signal) {
    const { header, fileBytes, downloadBytes } = await looked(await wasm(), options, signal);
    const info = JSON.parse(header.describe(textOptions({ ...options, chat: false }), JSON.stringify(options.dtype ?? 'file')));
    const room = await store.estimate();
    const storageLeft = room && room.quota - room.used;
    const problems = [];
    if (options.cache !== false && storageLeft !== null && downloadBytes > storageLeft) {
      problems.push(`The files need ${downloadBytes} bytes more of this browser's storage, which has ${storageLeft} left.`);
    }
    return { model: modelInfo(info, fileBytes), downloadBytes, storageLeft, problems };
  },

  /** @param {any} options @param {(event: any) => void} tell */
  async text(options, tell) {
    if (!model) throw new KillickError('closed', 'no model is loaded');
    const text = await model.text(textOptions(options));
    const number = nextText++;
    texts.set(number, new TextOnModel(text, tell));
    return { text: number, policy: named(JSON.parse(text.policy())) };
  },

  /** @param {any} options @param {any} _ @param {any} __ */
  async score({ text, policy, path = 'chunk:128' }, _, __) {
    const what = typeof text === 'string' ? { text } : { ids: [...text] };
    return JSON.parse(await model.score(JSON.stringify({ ...what, policy: policyJson(policy), path })));
  },

  async stats() {
    let textBytes = 0;
    for (const { text } of texts.values()) textBytes += text.allocatedBytes();
    return { wasmBytes: memory.buffer.byteLength, modelBytes: model.allocatedBytes(), textBytes, counters: JSON.parse(device.counters()) };
  },

  /** @param {any} options @param {(event: any) => void} tell */
  async bench({ tests, policies = [{}], repetitions = 3, platform }, tell) {
    const options = { tests: tests.map(snake), policies: policies.map(policyJson), repetitions, platform, dtype: loaded.dtype, load_ms: loaded.ms };
    return report(await model.bench(JSON.stringify(options), runs(tell)));
  },

  /** @param {any} options @param {(event: any) => void} tell */
  async kernels({ shape, filter = [], repetitions = 3, platform }, tell) {
    return report(await device.kernels(JSON.stringify({ shape, filter, repetitions, platform }), runs(tell)));
  },

  async destroy() {
    device.destroy();
  },
};

/** @param {(event: any) => void} tell */
const runs = (tell) => (/** @type {number} */ done, /** @type {number} */ all, /** @type {string} */ what) => tell({ run: { done, all, what } });

/** @param {string} text */
function report(text) {
  const { json, markdown, remarks } = JSON.parse(text);
  return { rows: JSON.parse(json), markdown, remarks };
}

/** What can be asked of a text. */
const ofTexts = {
  /** @param {TextOnModel} text @param {any} args @param {AbortSignal} signal */
  append: (text, { prompt }, signal) => text.append(prompt, signal),
  /** @param {TextOnModel} text @param {any} args @param {AbortSignal} signal */
  tell: (text, { message, answer }, signal) => text.hear(message, answer, signal),
  /** @param {TextOnModel} text @param {any} args @param {AbortSignal} signal */
  generate: (text, { message = null, options }, signal) => text.generate(message, options, signal),
  /** @param {TextOnModel} text */
  undo: async (text) => text.text.undo(),
  /** @param {TextOnModel} text */
  reset: async (text) => text.text.reset(),
  /** @param {TextOnModel} text @param {any} args */
  resume: (text, { ids, asked }) => text.text.resume(Uint32Array.from(ids), asked),
};

/** What only looks at a text, and so can be answered while it is being written. */
const looks = {
  /** @param {TextOnModel} text */
  memory: (text) => JSON.parse(text.text.memory()),
  /** @param {TextOnModel} text */
  anchors: (text) => JSON.parse(text.text.remembered()),
};

/** The engine's `name` of a policy is what options call its preset. @param {any} policy */
const named = ({ name, ...policy }) => ({ preset: name, ...policy });

/** @param {any} info @param {number} fileBytes */
function modelInfo({ name, format, config, chat, policy, notes, plan }, fileBytes) {
  const bytes = (/** @type {string} */ what) => plan.lines.find((/** @type {any} */ line) => line.what === what)?.bytes ?? 0;
  return { name, format, config, chat, policy: named(policy), notes, fileBytes, plan: { weightsBytes: bytes('weights'), kvBytes: bytes('kv cache'), totalBytes: plan.total_bytes, precisions: plan.precisions } };
}

/** @param {number} id @param {string} call @param {any} args @param {AbortSignal} signal */
async function answer(id, call, args, signal) {
  const tell = (/** @type {any} */ event) => postMessage({ id, event });
  if (dead) throw dead;
  if (call in calls) return /** @type {any} */ (calls)[call](args, tell, signal);
  if (call === 'close') {
    const text = textOf(args.text);
    texts.delete(args.text);
    return text.inTurn(async () => text.text.free());
  }
  const text = textOf(args.text);
  if (call in looks) return text.look(() => ({ value: /** @type {any} */ (looks)[call](text), ...text.state() }));
  return text.inTurn(async () => {
    // Reading what is held needs no place in the list of what changed.
    text.tell = tell;
    const value = await /** @type {any} */ (ofTexts)[call](text, args, signal);
    return { value, ...text.state() };
  });
}

addEventListener('message', async ({ data: { id, call, args, abort } }) => {
  if (abort) return running.get(id)?.abort();
  const controller = new AbortController();
  running.set(id, controller);
  try {
    postMessage({ id, value: await answer(id, call, args, controller.signal) });
  } catch (thrown) {
    const error = fault(thrown);
    if (error.code === 'crashed' || error.code === 'device-lost') lost(error);
    postMessage({ id, error: { code: error.code, message: error.message } });
  } finally {
    running.delete(id);
  }
});
