/** From what a user names to a model's headers: planned, fetched, opened. */

import { KillickError, asKillickError } from '../error.js';
import { obtain } from './download.js';
import { EMBEDDED, plan } from './sources.js';
import * as store from './store.js';

/** How long a download's speed is measured back, in milliseconds. */
const SPEED_MS = 3000;
/** Bytes of a file that are fetched at a time to look at its headers. */
const LOOK_BYTES = 1 << 20;
/** Headers that are longer are no headers. */
const MOST_LOOK_BYTES = 256 << 20;

/**
 * A file as the engine reads it. What a read throws is kept, because the engine only passes its message on.
 * @param {Blob} blob
 */
function blobSource(blob) {
  const source = {
    size: blob.size,
    /** @type {any} */ failure: null,
    async read(/** @type {number} */ offset, /** @type {number} */ length) {
      try {
        return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (error) {
        source.failure = new KillickError('bad-model', `the file can't be read (was it changed or moved since it was picked?): ${/** @type {any} */ (error)?.message}`);
        throw source.failure;
      }
    },
  };
  return source;
}

/**
 * A file on a server of which only the beginning is looked at.
 * @param {string} url @param {AbortSignal} signal
 */
async function headSource(url, signal) {
  /** @type {Uint8Array} */
  let held = new Uint8Array();
  let size = Infinity;
  /** Fetches until `end` bytes are held. @param {number} end */
  const reach = async (end) => {
    if (end > MOST_LOOK_BYTES) throw new KillickError('bad-model', `${url}: the headers do not end within ${MOST_LOOK_BYTES} bytes`);
    const to = Math.min(Math.max(end, held.length + LOOK_BYTES), size);
    const response = await fetch(url, { headers: { range: `bytes=${held.length}-${to - 1}` }, signal }).catch((error) => {
      throw signal.aborted ? new KillickError('aborted', 'called off') : new KillickError('network', `${new URL(url).host} can't be reached, or doesn't let pages of other sites read it`);
    });
    if (!response.ok) throw new KillickError('network', `${url}: the server says ${response.status}`);
    const total = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1] ?? (response.status === 200 ? response.headers.get('content-length') : null);
    if (total === null) throw new KillickError('network', `${url}: the server does not say how large the file is`);
    size = Number(total);
    // A server without ranges sends everything from the beginning: as much is read as is needed.
    if (response.status === 200) held = new Uint8Array();
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    /** @type {Uint8Array[]} */
    const parts = [held];
    let length = held.length;
    while (length < Math.min(to, size)) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      length += value.length;
    }
    await reader.cancel();
    held = new Uint8Array(await new Blob(/** @type {any[]} */ (parts)).arrayBuffer());
  };
  await reach(1);
  return {
    size,
    async read(/** @type {number} */ offset, /** @type {number} */ length) {
      while (held.length < Math.min(offset + length, size)) await reach(offset + length);
      return held.slice(offset, offset + length);
    },
  };
}

/** What a model is kept under, and whether its plan can be had without the network. @param {any} source */
const keptName = (source) => (typeof source === 'string' ? source.trim() : null);

/**
 * The files of a source, fetched where they are not kept.
 *
 * @param {any} source
 * @param {{ hub?: string, cache?: boolean, adapter?: boolean, signal: AbortSignal, newHash: () => any, tell: (progress: any) => void }} options
 */
export async function files(source, { hub, cache = true, adapter, signal, newHash, tell }) {
  const name = keptName(source);
  const before = cache && name ? await wholeRecord(name) : null;
  // What is kept whole needs no network; a newer package may bring another embedded model.
  let planned;
  try {
    planned = before && name !== EMBEDDED ? fromRecord(before) : await plan(source, { hub, adapter, signal });
  } catch (error) {
    if (!before || asKillickError(error).code !== 'network') throw error;
    planned = fromRecord(before);
  }
  /** @type {import('./download.js').Wanted[]} */
  const wanted = [];
  const blobs = new Map();
  for (const [file, place] of planned.files) {
    if ('blob' in place) blobs.set(file, place.blob);
    else wanted.push({ name: file, ...place });
  }
  if (wanted.length > 0) {
    const keeping = cache ? await store.Kept.open(name ?? planned.name) : null;
    await inTurn(keeping ? `killick:${keeping.name}` : null, signal, async () => {
      if (keeping) await checkRoom(keeping, wanted);
      const fetched = await obtain(wanted, keeping, newHash, measured(tell), signal);
      for (const [file, blob] of fetched) blobs.set(file, blob);
    });
  }
  return { name: planned.name, blobs };
}

/** @param {string} name */
async function wholeRecord(name) {
  const kept = await store.Kept.open(name);
  const record = await kept?.record();
  return record?.whole ? record : null;
}

/** @param {import('./store.js').ModelRecord} record @returns {import('./sources.js').Plan} */
function fromRecord(record) {
  const places = Object.entries(record.files).map(([file, { url, size, sha256 }]) => /** @type {const} */ ([file, { url, size: size ?? undefined, sha256 }]));
  return { name: record.name, files: new Map(places) };
}

/** One page at a time writes into a model's folder; the next one finds what the first has fetched. @param {string | null} lock @param {AbortSignal} signal @param {() => Promise<void>} work */
async function inTurn(lock, signal, work) {
  if (!lock || !navigator.locks) return work();
  await navigator.locks.request(lock, { signal }, work).catch((error) => {
    throw signal.aborted ? new KillickError('aborted', 'called off') : error;
  });
}

/**
 * Whether what is still wanted fits, as far as the browser tells; some tell a number that is not the truth, and then a write fails later.
 * @param {{ name: string, file(name: string): Promise<Blob | null> }} kept @param {{ name: string, size?: number }[]} wanted
 */
export async function checkRoom(kept, wanted) {
  const room = await store.estimate();
  if (!room) return;
  let needed = 0;
  for (const file of wanted) needed += Math.max(0, (file.size ?? 0) - ((await kept.file(file.name))?.size ?? 0));
  const left = room.quota - room.used;
  if (needed > left) {
    throw new KillickError('quota', `${kept.name} needs ${mib(needed)} more in this browser's storage, which has ${mib(left)} left. Delete a kept model, or load without keeping`);
  }
}

const mib = (/** @type {number} */ bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Adds speed and the time left to what is told, over all files of a phase. @param {(progress: any) => void} tell */
function measured(tell) {
  /** @type {{ at: number, done: number }[]} */
  let points = [];
  let of = '';
  return (/** @type {any} */ progress) => {
    const now = performance.now();
    if (of !== progress.phase + progress.file) [of, points] = [progress.phase + progress.file, []];
    points.push({ at: now, done: progress.done });
    while (points.length > 2 && now - points[0].at > SPEED_MS) points.shift();
    const [first] = points;
    const ms = now - first.at;
    if (ms > 200 && progress.done > first.done) {
      progress.speed = ((progress.done - first.done) / ms) * 1000;
      progress.msLeft = ((progress.total - progress.done) / progress.speed) * 1000;
    }
    tell(progress);
  };
}

/**
 * Opens the headers of a model and of its adapters.
 *
 * @param {any} engine the WebAssembly module's exports
 * @param {any} options `OpenOptions`
 * @param {(source: any, adapter: boolean) => Promise<{ name: string, sources: Record<string, any> }>} read
 */
async function open(engine, options, read) {
  const model = await read(options.model, false);
  const sources = [model.sources];
  try {
    const header = await engine.Header.open(model.name, model.sources);
    for (const { source, scale = 1 } of options.adapters ?? []) {
      const adapter = await read(source, true);
      sources.push(adapter.sources);
      await header.addAdapter(adapter.name, adapter.sources, scale);
    }
    return { header, sources };
  } catch (error) {
    throw cause(sources) ?? error;
  }
}

/** What a read of these files threw. @param {Record<string, any>[]} sources */
export const cause = (sources) => sources.flatMap((files) => Object.values(files)).find((source) => source.failure)?.failure ?? null;

/**
 * A model that is wholly here, but for its weights on the device.
 * @param {any} engine @param {any} options @param {{ signal: AbortSignal, tell: (progress: any) => void }} with_
 */
export async function fetched(engine, options, { signal, tell }) {
  const { hub, cache } = options;
  let fileBytes = 0;
  const opened = await open(engine, options, async (source, adapter) => {
    const { name, blobs } = await files(source, { hub, cache, adapter, signal, tell, newHash: () => new engine.Sha256() });
    const sources = Object.fromEntries([...blobs].map(([file, blob]) => [file, blobSource(blob)]));
    for (const blob of blobs.values()) fileBytes += blob.size;
    return { name, sources };
  });
  return { ...opened, fileBytes };
}

/**
 * The headers of a model, of which nothing more is fetched.
 * @param {any} engine @param {any} options @param {AbortSignal} signal
 */
export async function looked(engine, options, signal) {
  let [fileBytes, downloadBytes] = [0, 0];
  const { header } = await open(engine, options, async (source, adapter) => {
    const { name, files: places } = await plan(source, { hub: options.hub, adapter, signal });
    const kept = options.cache === false ? null : await store.Kept.open(keptName(source) ?? name);
    const record = await kept?.record();
    /** @type {Record<string, any>} */
    const sources = {};
    for (const [file, place] of places) {
      const here = 'blob' in place ? place.blob : record?.files[file]?.complete ? await kept?.file(file) : null;
      try {
        sources[file] = here ? blobSource(here) : await headSource(/** @type {any} */ (place).url, signal);
      } catch (error) {
        if (/** @type {any} */ (place).optional && asKillickError(error).code === 'network') continue;
        throw error;
      }
      fileBytes += sources[file].size;
      if (!here) downloadBytes += sources[file].size;
    }
    return { name, sources };
  });
  return { header, fileBytes, downloadBytes };
}
