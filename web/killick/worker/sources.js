/**
 * From what a user names to files: which there are, where each comes from, and what it must hash to.
 *
 * @typedef {{ blob: Blob } | { url: string, sha256?: string, size?: number, optional?: boolean }} Place
 * @typedef {{ name: string, files: Map<string, Place> }} Plan
 */

import { KillickError } from '../error.js';

/** The model that the package brings. */
export const EMBEDDED = 'killick-4m';
/** Its files, each address written out, so that bundlers find them and take them along. */
const EMBEDDED_FILES = {
  'config.json': new URL('../models/killick-4m/config.json', import.meta.url),
  'model.safetensors': new URL('../models/killick-4m/model.safetensors', import.meta.url),
  'tokenizer.json': new URL('../models/killick-4m/tokenizer.json', import.meta.url),
  'tokenizer_config.json': new URL('../models/killick-4m/tokenizer_config.json', import.meta.url),
};
/** Size and hash of each, written when the package is built. */
const EMBEDDED_LIST = new URL('../models/killick-4m/files.json', import.meta.url);
const HUB = 'https://huggingface.co';
/** Beside the weights. */
const COMPANIONS = new Set(['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'tokenizer.model', 'added_tokens.json', 'chat_template.jinja']);
const ADAPTER = ['adapter_config.json', 'adapter_model.safetensors'];
const INDEX = 'model.safetensors.index.json';

/**
 * @param {any} source what `OpenOptions.model` or an adapter's `source` is
 * @param {{ hub?: string, adapter?: boolean, signal?: AbortSignal }} options
 * @returns {Promise<Plan>}
 */
export async function plan(source, { hub = HUB, adapter = false, signal } = {}) {
  if (source instanceof Blob) return picked([source]);
  if (Array.isArray(source)) return picked(source);
  if (source && typeof source === 'object' && source.files) return named(source);
  if (typeof source !== 'string' || !source.trim()) {
    throw new KillickError('bad-option', 'model: expected a name, an address, a file or files');
  }
  const address = source.trim();
  if (address === EMBEDDED) return embedded(signal);
  if (/^https?:/i.test(address)) return fromUrl(address, adapter);
  const [org, name, ...path] = address.split('/');
  if (!org || !name) throw new KillickError('bad-option', `model: ${JSON.stringify(address)} is neither ${EMBEDDED}, an address, nor org/name`);
  return fromHub(hub.replace(/\/+$/, ''), `${org}/${name}`, path.join('/'), adapter, signal);
}

/** @param {AbortSignal} [signal] @returns {Promise<Plan>} */
async function embedded(signal) {
  // It is small; once the model is kept, nothing of the network is needed.
  const listed = await json(EMBEDDED_LIST.href, signal);
  const files = new Map();
  for (const [name, url] of Object.entries(EMBEDDED_FILES)) files.set(name, { url: url.href, ...listed[name] });
  return { name: EMBEDDED, files };
}

/** @param {any[]} blobs @returns {Plan} */
function picked(blobs) {
  const files = new Map();
  for (const blob of blobs) if (blob instanceof Blob) files.set(/** @type {any} */ (blob).name ?? 'model', { blob });
  const wanted = [...files.keys()].filter((name) => !name.startsWith('.'));
  if (wanted.length === 0) throw new KillickError('bad-option', 'no file was picked');
  const weights = wanted.find((name) => /\.(gguf|safetensors)$/i.test(name));
  // A folder holds much that is no part of a model.
  const parts = wanted.length === 1 ? wanted : wanted.filter((name) => /\.(gguf|safetensors)$/i.test(name) || COMPANIONS.has(name) || name === INDEX || ADAPTER.includes(name));
  return { name: weights ?? wanted[0], files: new Map(parts.map((name) => [name, files.get(name)])) };
}

/** @param {any} source @returns {Plan} */
function named({ name, files, sha256 = {} }) {
  if (name === EMBEDDED) throw new KillickError('bad-option', `model: the name ${EMBEDDED} is that of the model that comes with the package`);
  const places = new Map();
  for (const [file, content] of Object.entries(files)) {
    if (content instanceof Blob) places.set(file, { blob: content });
    else if (content instanceof Uint8Array) places.set(file, { blob: new Blob([/** @type {any} */ (content)]) });
    else if (typeof content === 'string') places.set(file, { url: absolute(content), sha256: sha256[file] });
    else throw new KillickError('bad-option', `model: file ${JSON.stringify(file)} is neither an address, a Blob nor bytes`);
  }
  const weights = [...places.keys()].find((file) => /\.(gguf|safetensors)$/i.test(file));
  // Files from elsewhere may bear the same names: what they are kept under names where they came from.
  return { name: name ?? places.get(weights)?.url ?? weights ?? 'model', files: places };
}

/** @param {string} text */
function absolute(text) {
  try {
    return new URL(text).href;
  } catch {
    throw new KillickError('bad-option', `${JSON.stringify(text)} is no address; it must begin with https://`);
  }
}

/** @param {string} address @param {boolean} adapter @returns {Plan} */
function fromUrl(address, adapter) {
  const url = new URL(absolute(address));
  const file = decodeURIComponent(url.pathname.split('/').pop() || 'model');
  if (!/\.(gguf|safetensors)$/i.test(file)) {
    throw new KillickError('bad-option', `${address}: an address must end in .gguf or .safetensors`);
  }
  /** @type {Map<string, Place>} */
  const files = new Map([[file, { url: url.href }]]);
  if (/\.safetensors$/i.test(file)) {
    for (const beside of adapter ? ['adapter_config.json'] : ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'generation_config.json']) {
      files.set(beside, { url: new URL(beside, url).href, optional: beside !== 'config.json' && beside !== 'adapter_config.json' });
    }
  }
  return { name: url.href, files };
}

/**
 * The files of a model on a hub that speaks Hugging Face's interface.
 * @param {string} hub @param {string} repo @param {string} path @param {boolean} adapter @param {AbortSignal} [signal]
 * @returns {Promise<Plan>}
 */
async function fromHub(hub, repo, path, adapter, signal) {
  const list = await json(`${hub}/api/models/${repo}/tree/main?recursive=true`, signal, {
    401: `${repo}: the hub knows no public model of that name. One behind a login can't be fetched from a page: download it and pick the file`,
    403: `${repo}: the hub asks for a login for this model. Download it there and pick the file`,
    404: `${repo}: the hub knows no model of that name`,
  });
  if (!Array.isArray(list)) throw new KillickError('network', `${repo}: the hub's answer is no list of files`);
  /** @type {Map<string, any>} */
  const there = new Map(list.filter((entry) => entry?.type === 'file' && typeof entry.path === 'string').map((entry) => [entry.path, entry]));
  const place = (/** @type {string} */ file) => {
    const entry = there.get(file);
    return { url: `${hub}/${repo}/resolve/main/${file.split('/').map(encodeURIComponent).join('/')}`, size: entry.size, sha256: entry.lfs?.oid };
  };
  const wanted = path ? beside(repo, there, path) : adapter ? adapterFiles(repo, there) : choose(repo, there);
  const plain = (/** @type {string} */ file) => file.split('/').pop() ?? file;
  return { name: path ? `${repo}/${path}` : repo, files: new Map(wanted.map((file) => [plain(file), place(file)])) };
}

/** @param {string} repo @param {Map<string, any>} there @param {string} path */
function beside(repo, there, path) {
  if (!there.has(path)) throw new KillickError('bad-option', `${repo} has no file ${JSON.stringify(path)}; it has: ${weightsIn(there).join(', ') || 'no .gguf and no .safetensors'}`);
  if (/\.gguf$/i.test(path)) return [path];
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  return [path, ...[...COMPANIONS].map((name) => folder + name).filter((name) => there.has(name))];
}

/** @param {string} repo @param {Map<string, any>} there */
function adapterFiles(repo, there) {
  for (const file of ADAPTER) if (!there.has(file)) throw new KillickError('bad-option', `${repo} is no adapter: it has no ${file}`);
  return ADAPTER;
}

/** @param {Map<string, any>} there */
const weightsIn = (there) => [...there.keys()].filter((file) => /\.(gguf|safetensors)$/i.test(file));

/** @param {string} repo @param {Map<string, any>} there */
function choose(repo, there) {
  const companions = [...COMPANIONS].filter((file) => there.has(file));
  if (there.has('model.safetensors')) return ['model.safetensors', ...companions];
  if (there.has(INDEX)) return [INDEX, ...weightsIn(there).filter((file) => /^[^/]*\.safetensors$/.test(file)), ...companions];
  const ggufs = weightsIn(there).filter((file) => /\.gguf$/i.test(file));
  if (ggufs.length === 1) return ggufs;
  if (ggufs.length > 1) throw new KillickError('bad-option', `${repo} has several models; name one: ${ggufs.map((file) => `${repo}/${file}`).join(', ')}`);
  throw new KillickError('bad-model', `${repo} has no model.safetensors and no .gguf`);
}

/**
 * @param {string} url @param {AbortSignal} [signal] @param {Record<number, string>} [says] what a status means here
 * @returns {Promise<any>}
 */
async function json(url, signal, says = {}) {
  let response;
  try {
    response = await fetch(url, { signal });
  } catch (error) {
    if (signal?.aborted) throw new KillickError('aborted', 'called off');
    throw new KillickError('network', `${new URL(url).host} can't be reached, or doesn't let pages of other sites read it`);
  }
  if (!response.ok) throw new KillickError('network', says[response.status] ?? `${url}: the server says ${response.status}`);
  return response.json().catch(() => {
    throw new KillickError('network', `${url}: the answer is no JSON`);
  });
}
