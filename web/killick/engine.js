/**
 * Models. The types and what each thing does are in index.d.ts.
 *
 * engine.js    models
 * text.js      texts
 * chat.js      OpenAI's shape over one
 * port.js      messages to the worker; worker/: where all work is done
 * support.js   whether this browser can run it
 */

import { Completions } from './chat.js';
import { KillickError } from './error.js';
import { Port } from './port.js';
import { support } from './support.js';
import { Generation, Text } from './text.js';
import * as store from './worker/store.js';

/** How long a worker may take to put things away once a load is called off, in milliseconds. */
const ABORT_MS = 2000;

export class Killick {
  static support = support;
  static cache = { list: store.list, delete: store.remove, clear: store.clear, estimate: store.estimate };

  /** @type {((error: KillickError) => void) | null} */
  onLost = null;
  /** @type {Set<Text>} */
  texts = new Set();
  /** @type {Port | null} */
  port = null;
  /** @type {any} `ModelInfo` */
  model = null;
  /** @type {any} `DeviceInfo` */
  device = null;

  /** @param {import('./index.js').LoadOptions} options */
  static async load(options) {
    const engine = new Killick(options);
    await engine.start(options.onProgress, options.signal);
    return engine;
  }

  /** @param {any} options */
  static async inspect({ onProgress, signal, ...options }) {
    await webgpu();
    const port = new Port();
    try {
      return await port.request('inspect', plain(options), { signal });
    } finally {
      port.end(new KillickError('closed', 'done'));
    }
  }

  /** Use {@link Killick.load}. @param {any} options */
  constructor({ onProgress, signal, ...options }) {
    this.options = plain(options);
    const completions = new Completions(/** @type {any} */ (this));
    this.chat = { completions: { create: (/** @type {any} */ request) => completions.create(request) } };
  }

  /** Opens a worker, a device and the model. @param {any} [onProgress] @param {AbortSignal} [signal] */
  async start(onProgress, signal) {
    await webgpu();
    const port = new Port();
    port.onLost = (error) => this.onLost?.(error);
    // The worker puts away what it has fetched; while it is busy with the device it does not hear.
    const abort = () => setTimeout(() => this.port !== port && port.end(new KillickError('aborted', 'called off')), ABORT_MS);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const tell = (/** @type {any} */ { progress }) => progress && onProgress?.(progress);
      const { model, device } = await port.request('load', this.options, { signal, tell });
      [this.port, this.model, this.device] = [port, model, device];
    } catch (error) {
      port.end(new KillickError('closed', 'the model was not loaded'));
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    if (signal?.aborted) {
      await this.close();
      throw new KillickError('aborted', 'called off');
    }
  }

  /** @returns {Port} */
  open() {
    if (!this.port) throw new KillickError('closed', 'this engine was closed');
    return this.port;
  }

  /** @param {any} [options] */
  async text(options = {}) {
    const { policy, kv } = this.options;
    const whole = { policy, kv, ...defined(options) };
    const port = this.open();
    const text = new Text(port, whole, await port.request('text', whole));
    this.texts.add(text);
    return text;
  }

  /** @param {string} prompt @param {any} [options] */
  generate(prompt, { policy, signal, ...options } = {}) {
    return new Generation(async (stopped, tell) => {
      const text = await this.text({ policy, chat: false });
      try {
        const tokens = await text.append(prompt, { signal: stopped, onPrompt: options.onPrompt });
        const going = text.generate({ ...options, signal: stopped });
        for await (const piece of going) tell(piece);
        return { ...(await going.result), promptTokens: tokens.length };
      } finally {
        this.texts.delete(text);
        await text.close();
      }
    }, signal);
  }

  /** @param {string | number[]} text @param {any} [options] */
  async score(text, { policy = this.options.policy, path } = {}) {
    return this.open().request('score', { text, policy, path });
  }

  /** @param {any} options */
  async bench({ onRun, ...options }) {
    return this.measured('bench', options, onRun);
  }

  /** @param {any} [options] */
  async benchKernels({ onRun, ...options } = {}) {
    return this.measured('kernels', options, onRun);
  }

  /** @param {'bench' | 'kernels'} call @param {any} options @param {any} onRun */
  measured(call, options, onRun) {
    const tell = (/** @type {any} */ { run }) => run && onRun?.(run);
    return this.open().request(call, { ...options, platform: platform() }, { tell });
  }

  async stats() {
    return this.open().request('stats', {});
  }

  /** @param {any} [onProgress] */
  async restart(onProgress) {
    this.open().end(new KillickError('closed', 'the engine was restarted'));
    await this.start(onProgress);
    for (const text of this.texts) {
      if (text.closed) this.texts.delete(text);
      else await text.moveTo(this.open(), await this.open().request('text', text.options));
    }
  }

  async close() {
    this.port?.end(new KillickError('closed', 'this engine was closed'));
    this.port = null;
  }

  async destroyDevice() {
    await this.open().request('destroy', {});
  }
}

/** Browser and system, as reports name them. */
function platform() {
  const agent = navigator.userAgent;
  const browser = /(Firefox|Edg|OPR|Chrome|Version)\/([\d.]+)/.exec(agent);
  const names = { Edg: 'Edge', OPR: 'Opera', Version: 'Safari' };
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|CrOS|Linux)/.exec(agent)?.[1] ?? 'unknown system';
  if (!browser) return `a browser on ${system}`;
  const short = /** @type {Record<string, string>} */ (names)[browser[1]] ?? browser[1];
  return `${short} ${browser[2]} on ${system}`;
}

/** Without WebGPU nothing is worth fetching. */
async function webgpu() {
  const { ok, code, help } = await support();
  if (!ok) throw new KillickError(code === 'no-adapter' ? 'no-adapter' : 'no-webgpu', help ?? '');
}

/** Options as a worker takes them: a FileList becomes files. @param {any} options */
function plain(options) {
  const list = (/** @type {any} */ source) => (typeof FileList !== 'undefined' && source instanceof FileList ? [...source] : source);
  const adapters = options.adapters?.map((/** @type {any} */ { source, scale }) => ({ source: list(source), scale }));
  return defined({ ...options, model: list(options.model), adapters });
}

/** @param {any} options */
const defined = (options) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
